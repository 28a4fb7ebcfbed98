"""Options that jobs share, and how a job finds its config, its store and its plan."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from pipeline.run.executors import make_executor
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, update_config
from pipeline.run.work import Executor
from pipeline.store.store import Store
from schemas.config import Config, ExecutorConfig
from schemas.config_file import load_config, parse_config
from schemas.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(*, required: bool = True) -> Callable[[Command], Command]:
    """``--store PATH_OR_URL``."""
    return click.option(
        "--store",
        "store_url",
        metavar="PATH_OR_URL",
        required=required,
        help="The store: a folder, or a URL such as s3://bucket/prefix.",
    )


def model_option(command: Command) -> Command:
    """``--model ALIAS``, needed when a store holds several."""
    return click.option("--model", "alias", metavar="ALIAS", help="Model in the store; needed when it holds several.")(
        command
    )


def config_argument(*, required: bool) -> Callable[[Command], Command]:
    """``CONFIG.yaml``."""
    metavar = "CONFIG.yaml" if required else "[CONFIG.yaml]"
    return click.argument("config_path", metavar=metavar, required=required, type=click.Path())


def dry_run_option(command: Command) -> Command:
    """``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, then stop; nothing is written.")(
        command
    )


def wait_option(command: Command) -> Command:
    """``--wait [SECONDS]``."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        is_flag=False,
        flag_value=float("inf"),
        default=0.0,
        metavar="[SECONDS]",
        help="Another command at work on the same run: wait for it (so long at most) instead of refusing.",
    )(command)


def executor_options(command: Command) -> Command:
    """Where the work runs; each option overrides the config's ``executor`` section."""
    for option in reversed(
        (
            click.option(
                "--executor", "kind", type=click.Choice(["local", "ray"]), help="Local processes or Ray actors."
            ),
            click.option("--workers", type=click.IntRange(min=1), help="Processes or actors."),
            click.option(
                "--gpus-per-worker", type=click.FloatRange(min=0), help="GPUs per Ray actor; may be a fraction."
            ),
            click.option("--address", help="Ray cluster to join; by default one is started here."),
        )
    ):
        command = option(command)
    return command


def on_error_option(command: Command) -> Command:
    """``--on-error``, overriding ``corpus.on_error``."""
    return click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        help="Sentences that cannot be read: stop, or put them into the table `quarantine` and go on.",
    )(command)


def label_on_option(command: Command) -> Command:
    """``--label-on``, overriding ``concepts.label_on``."""
    return click.option(
        "--label-on",
        type=click.Choice(["all", "first", "last"]),
        help="Tokens of a word that carry its concepts, at token unit.",
    )(command)


def round_to_option(command: Command) -> Command:
    """``--round-to``, overriding ``search.round_to``."""
    return click.option(
        "--round-to",
        type=click.Choice(["float16", "bfloat16"]),
        help="16-bit dtype that the search rounds a float32 store's values to.",
    )(command)


def planning_options(command: Command) -> Command:
    """Arguments of the commands that plan: CONFIG.yaml, and what overrides it."""
    for decorator in (
        dry_run_option,
        wait_option,
        round_to_option,
        label_on_option,
        on_error_option,
        executor_options,
        store_option(required=False),
        config_argument(required=True),
    ):
        command = decorator(command)
    return command


def config_to_plan(
    config_path: str, store_url: str | None, on_error: str | None, label_on: str | None, round_to: str | None
) -> Config:
    """The config file with the command line's overrides."""
    config = with_settings(read_config(config_path, store_url), "corpus", {"on_error": on_error})
    config = with_settings(config, "concepts", {"label_on": label_on})
    return with_settings(config, "search", {"round_to": round_to})


def choose_executor(
    config: Config, kind: str | None, workers: int | None, gpus_per_worker: float | None, address: str | None
) -> tuple[ExecutorConfig, Executor]:
    """The config's executor with the command line's overrides."""
    given = {"kind": kind, "workers": workers, "gpus_per_worker": gpus_per_worker, "address": address}
    chosen = config.executor.model_copy(update={key: value for key, value in given.items() if value is not None})
    return chosen, make_executor(chosen)


def read_config(config_path: str, store_url: str | None) -> Config:
    """The config file, with ``--store`` taking precedence over its ``store``."""
    return load_config(config_path, store=store_url)


def find_plan(config_path: str | None, store_url: str | None, alias: str | None) -> tuple[Store, Plan]:
    """The store and plan of a stage command: ``CONFIG.yaml``, or ``--store`` with what was planned there.

    A config given here also renews the analyses' settings of the plan (concepts, search, contexts, explain, …):
    for this command and, after a stage (:func:`jobs.stage.run_stage`), for those that follow. A config that would
    change the dump itself is refused.
    """
    if config_path is None and store_url is None:
        raise ConfigError("give CONFIG.yaml, or --store PATH_OR_URL of a store that has a plan")
    if config_path is None:
        store = Store.open(str(store_url))
        return store, load_plan(store, alias)
    config = read_config(config_path, store_url)
    store = Store.open(config.store)
    return store, update_config(load_plan(store, alias or config.model_alias), config)


def with_settings(config: Config, section: str, given: dict[str, Any]) -> Config:
    """The config with the options that were given (not None) in place of its own settings, checked as a config is."""
    data = config.model_dump(mode="json")
    chosen = {key: value for key, value in given.items() if value is not None}
    data[section] = (data[section] or {}) | chosen
    return parse_config(data, "command line")


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """`a,b` → `("a", "b")`; None stays None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def parse_concepts(values: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    """Concepts that ``--concepts``, given any number of times, asks for.

    A value that is a concept's name is that concept, commas and all; any other is a comma-separated list.
    """
    found = [(value,) if value in known else parse_names(value) or () for value in values]
    return tuple(dict.fromkeys(name for names in found for name in names))


def parse_numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """`0,3-5` → `(0, 3, 4, 5)`; None stays None."""
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ConfigError(f"{option} {text!r}: expected numbers and ranges such as `0,3-5`, got {part.strip()!r}")
        if dash and int(high) < int(low):
            raise ConfigError(f"{option} {text!r}: {part.strip()!r} ends before it begins; write the smaller first")
        numbers.extend(range(int(low), int(high or low) + 1))
    return tuple(numbers)
