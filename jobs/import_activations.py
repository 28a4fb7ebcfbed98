"""`neuronmill import`: activations of another program into a store."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.console import say
from jobs.held_store import held
from jobs.new_store import store_to_fill
from jobs.next_command import of_model
from jobs.options import dry_run_option, parse_numbers, store_option, wait_option
from pipeline.run.executors import make_executor
from pipeline.run.imported_corpus import columns_without_concept
from pipeline.run.importing import ImportRequest, import_activations, preview_import
from pipeline.store.lease import ALONE
from pipeline.store.open_storage import open_storage
from pipeline.store.paths import STORE_FILE
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.config import ExecutorConfig, ValueDtype

HELP = """Import activations of another program, so that every analysis works on them.

PATHS are files, folders or globs; several are one below the other, in this order. By name: `.npy` and `.npz` (a T × N
array; `--array` names one of several), `.safetensors` (`--tensor`), `.json` and `.jsonl` (NeuroX JSON), `.hdf5` and
`.h5` (NeuroX HDF5; needs `neuronmill[hdf5]`). A folder of `.safetensors` files with `locations`, `activations` and
`tokens` is a cache of sparse latents as delphi writes it, its files side by side. Nothing is unpickled. NeuroX files
hold words and several layers; `--layer` picks some of them.

\b
--labels is a TSV or Parquet file with a header and one row per row of the array:
  document, sentence, position, word   say which row it is, as far as they are there
  a column of 0 and 1                  is one concept, called as the column
  every other column                   gives the concepts column=value; an empty cell is no value

TSV is plain: a tab always divides, and a quote is a character. With --label-name NAME it is a NeuroX label file
instead: one sentence a line, labels divided by spaces.

A row is a word. A sentence ends where `document` or `sentence` changes or, without `sentence`, `position` does not
rise; rows with a document alone are a sentence a document, and rows with none of the three a sentence each, of the
document `import`. Words are joined by one space per sentence, and sentences by a newline. Rows without `word` are
called #0, #1, ….

The first import decides the store's rows and labels. Every later one, with another --model, --component or --layer,
must have the same rows: with --labels they are compared, without only their number can be. The layers of a model share
one stored dtype: 16-bit values go into a float32 model unchanged, everything else needs --dtype. A further layer of a
model makes a new run of it, so compute stats, search and contexts again. After a kill, start the same command again.

\b
Examples:
  neuronmill import X.npy --labels L.tsv --model mine --component mlp --layer 3 --store S
  neuronmill import acts.json --labels tags.txt --label-name pos --model bert --component resid --store S
  neuronmill search --store S
"""


@click.command("import", help=HELP)
@click.argument("paths", metavar="PATHS...", nargs=-1, required=True)
@click.option("--labels", type=click.Path(path_type=Path), help="TSV or Parquet with a header, a row per row.")
@click.option("--label-name", metavar="NAME", help="--labels is a NeuroX label file; NAME is what it labels.")
@click.option("--split-column", metavar="NAME", help="Column with train, dev or test, which then is no label.")
@click.option("--model", required=True, metavar="NAME", help="Name of the model in the store.")
@click.option("--component", required=True, metavar="NAME", help="What the neurons are, such as `mlp` or `resid`.")
@click.option("--layer", metavar="NUMBERS", help="Layer of the array; of a NeuroX file e.g. `0,3-5`, all by default.")
@store_option()
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    help="Stored dtype; by default the array's own, and float32 for float64, integers and further layers of a float32 "
    "model.",
)
@click.option("--array", metavar="NAME", help="Array of an .npz file that has several.")
@click.option("--tensor", metavar="NAME", help="Tensor of a safetensors file that has several.")
@click.option("--min-count", type=click.IntRange(min=1), default=1, help="Drop label values of fewer rows.")
@click.option(
    "--memory-mb", type=click.IntRange(min=16), default=1024, show_default=True, help="Memory for one shard's values."
)
@click.option(
    "--rows-per-shard", type=click.IntRange(min=1), help="Rows per shard; by default what --memory-mb allows."
)
@wait_option
@dry_run_option
def command(
    paths: tuple[str, ...],
    labels: Path | None,
    label_name: str | None,
    split_column: str | None,
    model: str,
    component: str,
    layer: str | None,
    store_url: str,
    dtype: ValueDtype | None,
    array: str | None,
    tensor: str | None,
    min_count: int,
    memory_mb: int,
    rows_per_shard: int | None,
    wait: float,
    dry_run: bool,
) -> None:
    """See HELP."""
    layers = parse_numbers(layer, "--layer")
    request = ImportRequest(
        paths, model, component, layers, labels, label_name, split_column, dtype, array, tensor, min_count, memory_mb,
        rows_per_shard,
    )  # fmt: skip
    if dry_run:
        exists = open_storage(store_url).exists(STORE_FILE)
        say(preview_import(request, Store.open(store_url) if exists else None))
        return
    with store_to_fill(store_url) as store, held(store, ALONE, wait) as progress:
        plan = import_activations(request, store, make_executor(ExecutorConfig()), progress)
    concepts = store.files("concepts")
    n_concepts = sum(file.n_rows for file in concepts)
    n_bytes = sum(file.n_bytes for file in store.files("activations", plan.run_id))
    targets = ", ".join(f"{component} {layer}" for component, layer in plan.capture.targets)
    following = "search" if n_concepts else "stats"
    say(
        [
            f"model {plan.model} in {store.url}: {counted(plan.n_rows, 'row')}, {counted(n_concepts, 'concept')}",
            f"layers: {targets} ({human_bytes(n_bytes)} as {plan.capture.dtype})",
            *(f"no concept from {remark}" for remark in columns_without_concept(store)),
            f"next: neuronmill {following} {of_model(store, plan.model)}",
        ]
    )
