"""`neuronmill export`: activations of a store as files of other programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import click

from jobs.console import ConsoleProgress, say
from jobs.options import dry_run_option, model_option, parse_numbers, store_option
from pipeline.run.exported_rows import RowChoice, WordPooling
from pipeline.run.exporting import Exporter, ExportRequest, Format
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.config import Split
from schemas.errors import ConfigError

HELP = """Write activations as files of other programs, one shard in memory at a time.

\b
Formats:
  npy          a T × N array; with several layers a file each, and --output holds {layer}
  arrow        an Arrow IPC file: row_id, document, sentence, position, word, split, concepts, n0000 …
  neurox-json  NeuroX JSON lines, all layers in one file
  neurox-hdf5  NeuroX HDF5, all layers in one file (needs `neuronmill[hdf5]`)

Beside all but `arrow` goes a table of the rows, X.tsv for X.npy: document, sentence, position, word, split (if there
are splits), and every concept as a column of 0 and 1. It is what `neuronmill import --labels` takes, so importing both
(with `--split-column split` if there are splits) gives the same rows, values and concepts. bfloat16 is written as
float32, which is exact.

Rows are the counted ones, in the store's order. `position` is the word's in its sentence; of token rows it is the
row's. NeuroX files hold words: a store of token rows needs --pooling. Files appear when they are whole; one that is
there already is refused without --force.

\b
Examples:
  neuronmill export --store S --component mlp --layers 3 --format npy --output X.npy
  neuronmill export --store S --component resid --format npy --output 'X-{layer}.npy'
  neuronmill export --store S --component mlp --format neurox-json --output acts.json
"""


def layers_of(plan: Plan, component: str | None, layers: tuple[int, ...] | None) -> tuple[str, tuple[int, ...]]:
    """The component (the only one by default) and its layers (all by default)."""
    known = plan.capture.components
    if component is None and len(known) > 1:
        raise ConfigError(f"--component: {plan.model} has {', '.join(known)}; name one")
    chosen = component or known[0]
    every = tuple(layer for name, layer in plan.capture.targets if name == chosen)
    if not every:
        raise ConfigError(f"--component {chosen}: {plan.model} has {', '.join(known)}; name one of them")
    return chosen, every if layers is None else tuple(sorted(set(layers)))


@click.command("export", help=HELP)
@store_option()
@model_option
@click.option("--component", metavar="NAME", help="Component; needed when the model has several.")
@click.option("--layers", metavar="NUMBERS", help="Numbers and ranges, such as `0,3-5`; all by default.")
@click.option(
    "--format",
    "file_format",
    required=True,
    type=click.Choice(["npy", "neurox-json", "neurox-hdf5", "arrow"]),
    help="What to write.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--rows", type=click.Choice(["tsv", "parquet"]), default="tsv", help="Format of the table of rows.")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), help="Rows of this split only.")
@click.option("--all-rows", is_flag=True, help="Rows that don't count (special tokens) too.")
@click.option("--pooling", type=click.Choice(["last", "first", "mean"]), help="Pool token rows to words.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@dry_run_option
def command(
    store_url: str,
    alias: str | None,
    component: str | None,
    layers: str | None,
    file_format: Format,
    output: Path,
    rows: Literal["tsv", "parquet"],
    split: Split | None,
    all_rows: bool,
    pooling: WordPooling | None,
    force: bool,
    dry_run: bool,
) -> None:
    """See HELP."""
    store = Store.open(store_url)
    plan = load_plan(store, alias)
    chosen, numbers = layers_of(plan, component, parse_numbers(layers, "--layers"))
    choice = RowChoice(split, all_rows, pooling)
    request = ExportRequest(chosen, numbers, file_format, output, choice, rows, force)
    exporter = Exporter(plan, store, request)
    if dry_run:
        say(exporter.preview())
        return
    n_rows = exporter.write(ConsoleProgress())
    say([f"wrote {file} ({human_bytes(file.stat().st_size)})" for file in request.files])
    say([f"{counted(n_rows, 'row')} of {plan.model} {chosen} {', '.join(map(str, numbers))}", *_next(exporter)])


def _next(exporter: Exporter) -> list[str]:
    """How to take the files in again."""
    request, plan = exporter.request, exporter.plan
    if request.rows_file is None:
        return ["next: open it, e.g. pyarrow.ipc.open_file(PATH)"]
    layers, file = next(iter(request.values_files.items()))
    words = ["neuronmill import", shlex.quote(str(file)), "--labels", shlex.quote(str(request.rows_file))]
    words += ["--split-column", "split"] if exporter.has_split else []
    words += ["--model", plan.model, "--component", request.component]
    words += ["--layer", ",".join(map(str, layers))] if request.format == "npy" else []
    words += ["--dtype", plan.capture.dtype] if plan.capture.dtype == "bfloat16" else []
    return [f"next: {' '.join(words)} --store STORE"]
