"""Encoding one layer as an activation file: ours against Parquet's usual writer, on one core.

    python -m benchmarks.encoding [--rows 4096] [--neurons 1536] [--rounds 5]

Values as a model gives them (row-major, normal, a scale of its own for each neuron) become one file on the disk, with
its SHA-256, in turn:

ours       write_activations: put together in memory, hashed there, written past the page cache where the disk allows it
pyarrow    the same content by pyarrow: transposed by numpy, one array a neuron, the same encodings and compression,
           then synced and read back for the checksum

Printed are megabytes of values per CPU second and per second, and, as limits, what one core copies and hashes and what
the disk takes; then the steps that are compiled, in nanoseconds a value beside what does the same without them:
choosing, rounding and checking rows of a batch (torch), the transposition (numpy) and the pages of bfloat16
(Zstandard's first level). Medians of all rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.inputs import show
from benchmarks.limits import cached_disk_rate, disk_rate, touch_rate
from pipeline.extract.storage_dtype import storage_dtype
from pipeline.store.column_files.column_source import RowMajor
from pipeline.store.column_files.pages import WholePages, page_header
from pipeline.store.column_files.split_pages import SplitPages
from pipeline.store.parquet import write_activations
from schemas.config import ValueDtype

#: Rows of a batch on a CPU.
BATCH = 1024

DTYPES: tuple[ValueDtype, ...] = ("float16", "bfloat16", "float32")


class Taken(NamedTuple):
    """What writing one file took."""

    wall: float
    cpu: float
    n_bytes: int


def model_like(n_rows: int, n_neurons: int, dtype: ValueDtype) -> npt.NDArray[Any]:
    """(T, N) bits of float16 or bfloat16, or float32."""
    rng = np.random.default_rng(0)
    scales = np.exp(rng.standard_normal(n_neurons)).astype(np.float32)
    values = rng.standard_normal((n_rows, n_neurons), np.float32) * scales
    if dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    return values if dtype == "float32" else (values.view(np.uint32) >> 16).astype(np.uint16)


def ours(path: Path, values: npt.NDArray[Any], dtype: ValueDtype) -> None:
    write_activations(path, values, first_neuron=0, row_ids=np.arange(len(values)), dtype=dtype)


def usual(path: Path, values: npt.NDArray[Any], dtype: ValueDtype) -> None:
    if dtype == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    columns = np.ascontiguousarray(values.T)
    columns = columns.view(np.float16) if dtype == "float16" else columns
    arrays = {"row_id": pa.array(np.arange(len(values)))}
    arrays |= {f"n{number:04d}": pa.array(column) for number, column in enumerate(columns)}
    names, is_half = list(arrays)[1:], dtype == "float16"
    pq.write_table(
        pa.table(arrays),
        path,
        row_group_size=len(values),
        compression="none" if is_half else "zstd",
        use_dictionary=False,
        column_encoding={"row_id": "DELTA_BINARY_PACKED"}
        | dict.fromkeys(names, "PLAIN" if is_half else "BYTE_STREAM_SPLIT"),
        write_statistics=["row_id"],
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())
        hashlib.file_digest(file, "sha256")


def taken(write: Callable[[Path, npt.NDArray[Any], ValueDtype], None], path: Path, *values: Any) -> Taken:
    start, cpu = time.perf_counter(), time.process_time()
    write(path, *values)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    n_bytes = path.stat().st_size
    path.unlink()
    return Taken(wall, cpu, n_bytes)


def steps(values: npt.NDArray[np.uint16], rounds: int) -> dict[str, str]:
    """CPU nanoseconds a value of storing rows, transposing bits of bfloat16 (T, N), making pages; and other ways."""
    n_rows, n_neurons = values.shape
    places, columns = np.random.default_rng(0).permutation(n_rows), slice(128)
    source, chunk = RowMajor(values, places), np.empty((columns.stop, n_rows), np.uint16)
    source.copy(columns, chunk)
    wide = np.empty((n_neurons, n_rows), np.uint16)
    floats = (chunk.astype(np.uint32) << np.uint32(16)).view(np.uint8).reshape(len(chunk), n_rows, 4)
    header, sizes = page_header(4 * n_rows, n_rows, 9), np.empty((len(chunk), 2), np.int64)
    out = np.zeros(8 * chunk.size + 1024 * len(chunk), np.uint8)

    def by_numpy(into: npt.NDArray[np.uint16], part: slice) -> None:
        for first in range(0, n_rows, 256):
            into[:, first : first + 256] = values[places[first : first + 256], part].T

    def by_zstandard() -> None:
        streams = np.ascontiguousarray(floats.transpose(0, 2, 1)).reshape(len(chunk), -1)
        WholePages().write(streams, header, out, 0, sizes)

    batch = torch.randn(BATCH, n_neurons)
    order, stored = np.random.default_rng(0).permutation(BATCH), np.empty((BATCH, n_neurons), np.uint16)
    float16 = storage_dtype("float16")

    def by_torch() -> None:
        rounded = torch.from_numpy(stored).view(torch.float16)
        rounded.copy_(batch[torch.from_numpy(order)])
        assert bool(torch.isfinite(rounded).all())

    def nanoseconds(action: Callable[[], object], n_values: int) -> float:
        taken = []
        for _ in range(rounds + 1):
            start = time.process_time()
            action()
            taken.append(time.process_time() - start)
        return statistics.median(taken[1:]) / n_values * 1e9

    writer = SplitPages(chunk)
    ways: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "rows of float32 as float16": (
            lambda: float16.store(batch, order, stored, ("resid", 0)),
            by_torch,
            batch.numel(),
        ),
        "transposing 128 neurons": (lambda: source.copy(columns, chunk), lambda: by_numpy(chunk, columns), chunk.size),
        "transposing all": (
            lambda: source.copy(slice(n_neurons), wide),
            lambda: by_numpy(wide, slice(None)),
            values.size,
        ),
        "pages of bfloat16": (lambda: writer.write(chunk, header, out, 0, sizes), by_zstandard, chunk.size),
    }
    return {
        name: f"{nanoseconds(ours, n):.2f} ns a value, without the kernel {nanoseconds(other, n):.2f}"
        for name, (ours, other, n) in ways.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--neurons", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in DTYPES:
            values = model_like(options.rows, options.neurons, dtype)
            found: dict[str, list[Taken]] = {"ours": [], "pyarrow": []}
            for _ in range(options.rounds + 1):  # the first is not counted: its memory is new
                found["ours"].append(taken(ours, folder / "ours", values, dtype))
                found["pyarrow"].append(taken(usual, folder / "pyarrow", values, dtype))
            report(dtype, values, {side: runs[1:] for side, runs in found.items()})
        show(
            {
                "copying and hashing on one core": f"{touch_rate(options.rows, options.neurons) / 1e6:,.0f} MB/s",
                "the disk, past the page cache": f"{disk_rate(folder) / 1e6:,.0f} MB/s",
                "the disk, through it and synced": f"{cached_disk_rate(folder) / 1e6:,.0f} MB/s",
            }
        )
    show(steps(model_like(options.rows, options.neurons, "bfloat16"), 5 * options.rounds))


def report(dtype: ValueDtype, values: npt.NDArray[Any], found: dict[str, list[Taken]]) -> None:
    wall, cpu = (
        {side: statistics.median(run[kind] for run in runs) for side, runs in found.items()} for kind in (0, 1)
    )
    for side, runs in found.items():
        show(
            {
                f"{dtype}, {side}": f"{values.nbytes / cpu[side] / 1e6:,.0f} MB per CPU second, "
                f"{values.nbytes / wall[side] / 1e6:,.0f} MB/s, {runs[0].n_bytes / values.size:.2f} bytes per value"
            }
        )
    ratios = f"{cpu['pyarrow'] / cpu['ours']:.1f} in CPU time, {wall['pyarrow'] / wall['ours']:.1f} in time"
    show({f"{dtype}, ratio": ratios})


if __name__ == "__main__":
    main()
