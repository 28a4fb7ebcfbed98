"""`--neurons` and `--from-sql`: analyses of chosen neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from jobs.options import parse_names
from pipeline.run.neuron_choice import places_from_sql
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.errors import ConfigError


def neuron_options(command: Any) -> Any:
    """``--neurons PLACES`` and ``--from-sql SQL``, as ``neurons`` and ``sql``."""
    for option in (
        click.option(
            "--from-sql",
            "sql",
            metavar="SQL",
            help="Only the neurons in the columns component, layer and neuron of a SELECT.",
        ),
        click.option(
            "--neurons", metavar="PLACES", help="Only these, such as `mlp:3:63,resid:2:10-12,attn:0-5`, or `all`."
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class ChosenNeurons:
    """What the two options were given."""

    neurons: str | None
    sql: str | None

    def __post_init__(self) -> None:
        if self.neurons is not None and self.sql is not None:
            raise ConfigError("--neurons and --from-sql exclude each other; drop one of them")

    @property
    def are_some(self) -> bool:
        """Whether neurons were chosen."""
        return self.sql is not None or self.neurons not in (None, "all")

    def setting(self, plan: Plan, store: Store) -> tuple[str, ...] | str | None:
        """The config's ``neurons``; None where no option was given."""
        if self.sql is not None:
            return places_from_sql(store, self.sql, plan.model)
        return self.neurons if self.neurons == "all" else parse_names(self.neurons)
