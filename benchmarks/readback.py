"""Reading activations back: SQL over one neuron, and a layer into numpy, at a million rows of 768 neurons.

    python -m benchmarks.readback [--rows 1000000] [--neurons 768] [--rounds 5]

Random float16 values are written as activation files of 131,072 rows by the store's own writer, then read warm:

sql       SELECT avg(n0421) over all rows, through the store's views
numpy     every neuron of every file as a contiguous array (ActivationReader), in GB/s
copy      numpy copying as many bytes from memory to memory: the limit of any reader that hands over its own arrays
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np

from benchmarks.watched import median_seconds
from pipeline.store.parquet import write_activations
from pipeline.store.paths import activation_file
from pipeline.store.receipts import FileEntry
from pipeline.store.sql import connect
from pipeline.store.store import Store

ROWS_PER_FILE = 131_072


def fill(store: Store, n_rows: int, n_neurons: int) -> list[FileEntry]:
    """Activation files of ``n_rows`` rows, registered in the manifest."""
    rng = np.random.default_rng(0)
    entries: list[FileEntry] = []
    for shard, first in enumerate(range(0, n_rows, ROWS_PER_FILE)):
        ids = np.arange(first, min(first + ROWS_PER_FILE, n_rows), dtype=np.int64)
        values = rng.standard_normal((len(ids), n_neurons), dtype=np.float32).astype(np.float16)
        with store.staging() as staging:
            path = staging.path(activation_file("bench", "resid", 1, 0, shard))
            write_activations(path, values.view(np.uint16), first_neuron=0, row_ids=ids, dtype="float16")
            entries.extend(store.commit(staging, "dump-bench", f"shard-{shard:05d}").files)
    store.advance("activations", "bench", entries)
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--neurons", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(f"{folder}/store")
        entries = fill(store, options.rows, options.neurons)
        with connect(store) as connection:
            query = f"SELECT avg(n{options.neurons // 2:04d}) FROM activations_resid"
            sql = median_seconds(lambda: connection.execute(query).fetchall(), options.rounds)
        reader = store.activation_reader(threads=True)
        n_bytes = 2 * options.rows * options.neurons
        numpy = median_seconds(lambda: [reader.read_block(entry).shape for entry in entries], options.rounds)
        block = np.ones((options.neurons, ROWS_PER_FILE), np.uint16)
        copy = median_seconds(block.copy, options.rounds) * n_bytes / block.nbytes
    size = sum(entry.n_bytes for entry in entries)
    print(f"{'rows × neurons':28} {options.rows:,} × {options.neurons}, {len(entries)} files")
    print(f"{'bytes per value':28} {size / (options.rows * options.neurons):.3f}")
    print(f"{'one neuron by SQL':28} {sql * 1e3:.1f} ms")
    print(f"{'read back to numpy':28} {n_bytes / numpy / 1e9:.2f} GB/s")
    print(f"{'memory copy (limit)':28} {n_bytes / copy / 1e9:.2f} GB/s; reached {copy / numpy:.0%}")


if __name__ == "__main__":
    main()
