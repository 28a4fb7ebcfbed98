"""Export: activations of a model's layers as files of other programs, one shard in memory at a time.

Beside the values goes a table of rows (document, sentence, position, word, split, and each concept as a column of 0 and
1), so that importing both gives the same rows, values and concepts. Files appear whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.exchange.arrow_file import ArrowWriter, ParquetRows
from pipeline.exchange.neurox import NeuroxHdf5Writer, NeuroxJsonWriter
from pipeline.exchange.npy import NpyWriter
from pipeline.exchange.source import Array
from pipeline.exchange.tsv_rows import TsvRows
from pipeline.run.dump_files import Series
from pipeline.run.exported_rows import RowChoice, RowReader, ShardRows
from pipeline.run.fold import require_dump
from pipeline.run.labelling import planned_concepts
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.series_reader import SeriesReader
from pipeline.stats.codes import bits_to_float32
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.components import Component
from schemas.errors import ExchangeError
from schemas.tables import neuron_column

Format = Literal["npy", "neurox-json", "neurox-hdf5", "arrow"]
IDENTITY = ("document", "sentence", "position", "word")


@dataclass(frozen=True)
class ExportRequest:
    """What goes where. ``output`` holds ``{layer}`` where several layers become a file each."""

    component: Component
    layers: tuple[int, ...]
    format: Format
    output: Path
    choice: RowChoice = field(default_factory=RowChoice)
    rows: Literal["tsv", "parquet"] = "tsv"
    force: bool = False

    @property
    def values_files(self) -> dict[tuple[int, ...], Path]:
        """The file of values of each group of layers."""
        if self.format.startswith("neurox"):
            return {self.layers: self.output}
        return {(layer,): Path(str(self.output).replace("{layer}", str(layer))) for layer in self.layers}

    @property
    def rows_file(self) -> Path | None:
        """The table of rows; an Arrow file holds them itself."""
        if self.format == "arrow":
            return None
        stem = self.output.stem.replace("{layer}", "").strip("-_. ") or "rows"
        return self.output.with_name(f"{stem}.{self.rows}")

    @property
    def files(self) -> list[Path]:
        """Every file that is written."""
        return [*self.values_files.values(), *([self.rows_file] if self.rows_file else [])]


class Exporter:
    """Writes one request. Raises :class:`ExchangeError` for one that cannot be, before anything is written."""

    def __init__(self, plan: Plan, store: Store, request: ExportRequest) -> None:
        self.plan, self.store, self.request = plan, store, request
        require_dump(plan, store)
        self._check()
        self.concepts = planned_concepts(plan, store)
        self.rows = RowReader(store, plan, self.concepts, request.choice)
        n_held = len(self._blocks) * max(map(len, request.values_files))
        self._reader = SeriesReader(store, plan, n_held)
        self.has_split = False
        """Whether the table of rows that was written has the column `split`."""
        taken = {*IDENTITY, "split"} & set(self.concepts.names)
        if taken:
            raise ExchangeError(f"concept {min(taken)!r}: is called as a column that says which row it is; rename it")

    def _check(self) -> None:
        request, capture = self.request, self.plan.capture
        for layer in request.layers:
            if (request.component, layer) not in capture.targets:
                known = ", ".join(f"{component} {number}" for component, number in capture.targets)
                raise ExchangeError(f"--component {request.component} --layers {layer}: {self.plan.model} has {known}")
        if request.choice.pooling and capture.unit != "token":
            raise ExchangeError(f"--pooling: pools tokens to words, and the rows of this store are {capture.unit}s")
        if request.format.startswith("neurox") and (
            capture.unit == "sentence" or (capture.unit == "token" and not request.choice.pooling)
        ):
            raise ExchangeError(
                f"--format {request.format}: NeuroX files hold words, and the rows of this store are {capture.unit}s; "
                + ("give --pooling last, first or mean" if capture.unit == "token" else "write npy or arrow")
            )
        if len(request.layers) > 1 and "{layer}" not in str(request.output) and request.format in ("npy", "arrow"):
            raise ExchangeError(
                f"--output {request.output}: several layers become a file each, so the name must hold {{layer}}, e.g. "
                f"{request.output.with_name(request.output.stem + '-{layer}' + request.output.suffix)}"
            )
        there = [file for file in request.files if file.exists()]
        if there and not request.force:
            raise ExchangeError(f"{there[0]}: is there already; name another --output, or replace it with --force")
        folder = request.output.absolute().parent
        if not folder.is_dir():
            raise ExchangeError(f"--output {request.output}: there is no folder {folder}; make it first")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values written: the stored one, float32 for bfloat16 and for means."""
        is_half = self.plan.capture.value_dtype == "float16" and self.request.choice.pooling != "mean"
        return np.dtype(np.float16 if is_half else np.float32)

    def preview(self) -> list[str]:
        """What would be written."""
        size = self.plan.n_rows * self.plan.capture.widths[self.request.component] * len(self.request.layers)
        at_most = f"at most {human_bytes(size * self.dtype.itemsize)} of values"
        return [f"would write {', '.join(map(str, self.request.files))}: {at_most}"]

    def write(self, progress: Progress) -> int:
        """Write all files; returns the number of rows."""
        n_rows = 0
        for shard in self.plan.shards:
            found = self.rows.read(shard)
            n_rows += found.n_rows
            self.has_split = self.has_split or any(found.columns["split"])
        if not n_rows:
            raise ExchangeError("--split: no row is left; choose another split, or give --all-rows")
        groups = self.request.values_files
        progress.start("export", len(self.plan.shards) * len(groups), "shards")
        with _whole_files(self.request.files) as parts:
            if self.request.rows_file is not None:
                self._write_rows(parts[self.request.rows_file])
            for layers, file in groups.items():
                self._write_values(parts[file], layers, n_rows, progress)
        progress.finish(counted(n_rows, "row"))
        return n_rows

    def _write_rows(self, part: Path) -> None:
        """The table of rows."""
        columns = [*IDENTITY, *(["split"] if self.has_split else [])]
        names = self.concepts.names
        writer = (TsvRows if self.request.rows == "tsv" else ParquetRows)(part, columns, names)
        try:
            for shard in self.plan.shards:
                rows = self.rows.read(shard)
                for where, labels in rows.chunks(len(names)):
                    cells = {name: rows.columns[name][where] for name in columns}
                    writer.write(cells | {name: labels[:, at].tolist() for at, name in enumerate(names)})
        finally:
            writer.close()

    def _write_values(self, part: Path, layers: tuple[int, ...], n_rows: int, progress: Progress) -> None:
        if self.request.format == "npy":
            with part.open("wb") as handle:
                npy = NpyWriter(handle, (n_rows, sum(map(len, self._blocks))), self.dtype)
                for rows in self._shards(progress):
                    npy.write(self._values(rows, layers[0]))
        elif self.request.format == "arrow":
            self._write_arrow(part, layers[0], progress)
        elif self.request.format == "neurox-json":
            with part.open("wb") as handle:
                self._write_sentences(NeuroxJsonWriter(handle, layers), layers, progress)
        else:
            self._write_sentences(NeuroxHdf5Writer(part, layers), layers, progress)

    def _write_arrow(self, part: Path, layer: int, progress: Progress) -> None:
        plan, names = self.plan, np.array(self.concepts.names, dtype=object)
        facts = {"model": plan.model, "component": self.request.component, "layer": str(layer)}
        neurons = [neuron_column(neuron) for block in self._blocks for neuron in block]
        writer = ArrowWriter(part, neurons, self.dtype, facts | {"dtype": plan.capture.dtype, "run_id": plan.run_id})
        try:
            for rows in self._shards(progress):
                concepts = [names[row.nonzero()[0]].tolist() for _, chunk in rows.chunks(len(names)) for row in chunk]
                writer.write({**rows.columns, "row_id": rows.row_id, "concepts": concepts}, self._values(rows, layer))
        finally:
            writer.close()

    def _write_sentences(
        self, writer: NeuroxJsonWriter | NeuroxHdf5Writer, layers: Sequence[int], progress: Progress
    ) -> None:
        try:
            for rows in self._shards(progress):
                values = [self._values(rows, layer) for layer in layers]
                edges = np.flatnonzero(np.diff(rows.sentence_id, prepend=-1, append=-1)).tolist()
                for start, stop in pairwise(edges):
                    writer.write(rows.columns["word"][start:stop], np.stack([layer[start:stop] for layer in values]))
        finally:
            writer.close()

    def _shards(self, progress: Progress) -> Iterator[ShardRows]:
        for shard in self.plan.shards:
            rows = self.rows.read(shard)
            if rows.n_rows:
                yield rows
            progress.advance(1, n_rows=rows.n_rows)

    @property
    def _blocks(self) -> tuple[range, ...]:
        return self.plan.capture.blocks(self.request.component)

    def _values(self, rows: ShardRows, layer: int) -> Array:
        """(n, N) values of one layer in :attr:`dtype`; exact, but for means."""
        stored = self.plan.capture.value_dtype
        parts = []
        for block in range(len(self._blocks)):
            bits = self._reader.read(Series(self.request.component, layer, block), rows.shard)
            if stored == "float32":
                values: Array = bits
            elif stored == "float16":
                values = bits.view(np.float16)
            else:
                values = bits_to_float32(bits.view(np.uint16), stored)
            parts.append(rows.take(values).astype(self.dtype, copy=False))
        return np.concatenate(parts, axis=1)


@contextmanager
def _whole_files(files: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Names to write under; the files get their own when all are finished, and are removed if one is not."""
    parts = {file: file.with_name(f".{file.name}.{os.getpid()}.part") for file in files}
    try:
        yield parts
        for part in parts.values():
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
        for file, part in parts.items():
            part.replace(file)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
