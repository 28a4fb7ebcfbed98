"""`neuronmill sql`: query the store's tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from jobs.console import say
from jobs.next_command import of_store
from jobs.options import dry_run_option, store_option
from pipeline.store.sql import run_user_sql
from pipeline.store.statements import checked_statement
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import ConfigError
from schemas.sql_macros import TABLE_MACROS, macro_title
from schemas.tables import TABLES


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` only once all is well; devices and pipes are written at once."""
    if path.exists() and not path.is_file():
        with path.open("wb") as sink:
            yield sink
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@click.command()
@store_option()
@click.argument("sql", required=False, metavar="[SQL]")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="Format of the result.",
)
@click.option("--output", type=click.Path(dir_okay=False), help="File to write; standard output by default.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Time limit."
)
@click.option("--memory", default="4GB", show_default=True, help="Memory limit, such as 500MB.")
@dry_run_option
def command(
    store_url: str, sql: str | None, output_format: Any, output: str | None, seconds: float, memory: str, dry_run: bool
) -> None:
    """Run one SELECT or EXPLAIN over the store's tables; nothing else is allowed, and no other file can be read.

    Without SQL, list the tables and macros. Neuron columns are n0000, n0001, … in activations_resid and
    activations_mlp; of dumps with mode topk or threshold, sparse_resid and sparse_mlp have one row per stored value.
    `row_id` joins tokens, labels and activations. Macros give the scores, the histogram and the words of any neuron:
    FROM neuron_ap('mlp', 3, 63, 'upos=NUM').
    """
    store = Store.open(store_url)
    if sql is None:
        say(f"{name:20} {table.row.split(';')[0]}" for name, table in TABLES.items())
        say(f"{name + '(…)':20} {macro_title(name).split(':')[0]}" for name in TABLE_MACROS)
        say([f'next: neuronmill sql {of_store(store)} "FROM runs"'])
        return
    if dry_run:
        say([f"would run: {checked_statement(sql)}"])
        return
    if output is None:
        run_user_sql(store, sql, sys.stdout.buffer, output_format=output_format, seconds=seconds, memory=memory)
        return
    try:
        with replacing(Path(output)) as sink:
            n_rows = run_user_sql(store, sql, sink, output_format=output_format, seconds=seconds, memory=memory)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror}); give another path") from error
    say([f"wrote {counted(n_rows, 'row')} to {output}"])
