"""`neuronmill agree`: how far rankings agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from jobs.console import say
from jobs.next_command import of_store
from jobs.options import dry_run_option, parse_concepts, parse_names, store_option
from jobs.report import check_can_write
from jobs.sql import replacing
from pipeline.report.agreement_data import AgreementData, find_rankings, known_concepts, load_agreement
from pipeline.report.agreement_page import render_agreement_page
from pipeline.report.agreement_rows import agreement_rows
from pipeline.report.agreement_text import render_agreement
from pipeline.report.html_file import write_html
from pipeline.store.result_formats import Format, write_rows
from pipeline.store.sql import connect
from pipeline.store.store import Store
from schemas.agreements import AGREEMENTS
from schemas.amounts import counted, human_bytes
from schemas.errors import ConfigError

_FORMATS: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


@click.command()
@store_option()
@click.option("--with", "other_url", metavar="PATH_OR_URL", help="Another store, whose rankings take part.")
@click.option("--model", "models", multiple=True, metavar="ALIAS", help="A model; may be given again. All by default.")
@click.option("--methods", help="Comma-separated, such as `ap,auroc`; all that were searched by default.")
@click.option(
    "--concepts",
    multiple=True,
    metavar="NAMES",
    help="A concept's name, or several with commas between; may be given again. All by default.",
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Length of the top lists.")
@click.option("--by-concept", is_flag=True, help="Show each concept too.")
@click.option(
    "--output", type=click.Path(dir_okay=False), help="File for every measure of every pair: .csv, .json or .parquet."
)
@click.option("--page", type=click.Path(dir_okay=False), help="HTML file for a heat map; no network needed.")
@dry_run_option
def command(
    store_url: str,
    other_url: str | None,
    models: tuple[str, ...],
    methods: str | None,
    concepts: tuple[str, ...],
    k: int,
    by_concept: bool,
    output: str | None,
    page: str | None,
    dry_run: bool,
) -> None:
    """Compare the rankings of methods, models and stores, per concept and on average.

    Top lists are compared by Jaccard index and overlap, whole rankings by Spearman's correlation, and each ranking with
    all others by AvgOverlap and NeuronVote. A neuron is the same where component, layer and number are. The correlation
    is over the neurons that both rankings have kept: search with `--keep all` for all neurons.
    """
    stores = [Store.open(url) for url in (store_url, other_url) if url is not None]
    output_format = _format(output)
    for option, path in (("--output", output), ("--page", page)):
        if path is not None:
            check_can_write(Path(path), option)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(store)) for store in stores]
        chosen: dict[str, Any] = {"models": models or None, "methods": parse_names(methods)}
        names = [store.url.rstrip("/").rpartition("/")[2] for store in stores]
        known = known_concepts(connections, models or None)
        asked = parse_concepts(concepts, known) if concepts else None
        if dry_run:
            found = find_rankings(connections, names, **chosen)
            say([f"would compare {len(found)} rankings for {counted(len(asked or known), 'concept')}"])
            return
        data = load_agreement(connections, names, k=k, concepts=asked, **chosen)
    say([render_agreement(data, by_concept=by_concept)])
    say(_written(data, output, output_format, page))
    if page is None:
        say([f"next: neuronmill agree {of_store(stores[0])} --page agreement.html"])


def _format(output: str | None) -> Format:
    suffix = ".csv" if output is None else Path(output).suffix
    if suffix not in _FORMATS:
        raise ConfigError(f"--output {output}: the name must end with {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def _written(data: AgreementData, output: str | None, output_format: Format, page: str | None) -> Iterator[str]:
    """Write the files asked for; a line for each."""
    if output is not None:
        try:
            with replacing(Path(output)) as sink:
                n_rows = write_rows(list(agreement_rows(data)), AGREEMENTS.arrow, sink, output_format)
        except OSError as error:
            raise ConfigError(f"--output {output}: cannot be written ({error.strerror}); give another path") from error
        yield f"wrote {counted(n_rows, 'row')} to {output}"
    if page is not None:
        path = write_html(render_agreement_page(data), page)
        yield f"wrote {path.resolve()} ({human_bytes(path.stat().st_size)})"
        yield "next: open it in a browser"
