"""A search of a whole store: rate beside reading alone, memory, and what a second worker gains.

    python -m benchmarks.search_store [--rows 2000000] [--neurons 768] [--concepts 100] [--workers 1 2]

Random float16 activations and one label of so many values per row are imported, then searched from the Parquet files by
commands of their own, their start included: by means (all six methods: the cheap ones) and by thresholds (all six).
Each worker has a core to itself, and the command no others. Limit: the same files read into numpy by one process on as
many cores, measured just before. Resident memory is the largest of any worker (of the command where it has none).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.inputs import show
from benchmarks.watched import neuronmill
from pipeline.search.mean_methods import MEAN_METHODS
from pipeline.search.search_states import SWEEP_METHODS
from pipeline.store.store import Store

#: Rows of random values; further rows repeat them in another order of neurons.
BLOCK = 100_000


def write_inputs(folder: Path, n_rows: int, n_neurons: int, n_concepts: int) -> tuple[Path, Path]:
    """``X.npy`` (T, N) float16 and ``L.tsv`` with a sentence of twenty words a line group."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((min(BLOCK, n_rows), n_neurons), np.float32).astype(np.float16)
    x = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float16, shape=(n_rows, n_neurons))
    with (folder / "L.tsv").open("w", encoding="utf-8") as labels:
        labels.write("document\tsentence\tposition\tword\tkind\n")
        for first in range(0, n_rows, len(block)):
            n = min(len(block), n_rows - first)
            x[first : first + n] = block[:n, rng.permutation(n_neurons)]
            kinds = rng.integers(0, n_concepts, n).tolist()
            labels.writelines(
                f"d{(first + at) // 10_000}\ts{(first + at) // 20}\t{at % 20}\tw\tk{kind}\n"
                for at, kind in enumerate(kinds)
            )
    x.flush()
    return folder / "X.npy", folder / "L.tsv"


def reading_rate(store: Store) -> float:
    """Bytes of values per second of reading every neuron into numpy, from the page cache if it holds them."""
    reader, entries = store.activation_reader(threads=True), store.files("activations")
    start = time.perf_counter()
    n_values = sum(reader.read_block(entry).size for entry in entries)
    return 2 * n_values / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--neurons", type=int, default=768)
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", help="where the store is made (its size and once more the input's); else temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        x, labels = write_inputs(folder, options.rows, options.neurons, options.concepts)
        arguments = ["--model", "bench", "--component", "mlp", "--layer", "1", "--store", f"{folder}/store"]
        taken = neuronmill("import", str(x), "--labels", str(labels), *arguments)
        x.unlink()
        show({"import": f"{taken.seconds:,.0f} s, {taken.driver_bytes / 1e6:,.0f} MB"})
        cores = sorted(os.sched_getaffinity(0))
        store, n_bytes = Store.open(f"{folder}/store"), 2 * options.rows * options.neurons
        for kind, methods in (("means", MEAN_METHODS), ("thresholds", tuple(SWEEP_METHODS))):
            for workers in options.workers:
                os.sched_setaffinity(0, cores[:workers])  # commands inherit it
                rate = reading_rate(store)
                for receipts in (folder / "store/receipts").glob("search-*"):  # so that it is done again
                    receipts.rename(folder / f"done-{receipts.name}-{workers}")
                found = neuronmill(
                    *("search", "--store", store.url, "--workers", str(workers), "--methods", ",".join(methods))
                )
                memory, reached = max(found.driver_bytes, found.worker_bytes), n_bytes / found.seconds
                of_reading = f"{reached / 1e6:,.0f} MB/s of values, {reached / rate:.0%} of reading"
                facts = f"{found.seconds:,.1f} s, {of_reading} ({rate / 1e6:,.0f} MB/s), {memory / 1e6:,.0f} MB"
                show({f"{kind}, {workers} workers": facts})


if __name__ == "__main__":
    main()
