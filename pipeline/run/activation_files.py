"""The activation files of one captured layer over one shard, as the plan's mode and dtype want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.extract.int8_codes import Floats, quantise
from pipeline.extract.rows_in_memory import Rows
from pipeline.extract.selection import above, select, top_k
from pipeline.extract.storage_dtype import Bits
from pipeline.run.plan_record import Capture
from pipeline.store.column_files.column_source import RowMajor
from pipeline.store.footer import Reduction
from pipeline.store.parquet import write_activations, write_few_values
from pipeline.store.paths import activation_file
from pipeline.store.sparse import write_sparse
from pipeline.store.staging import Staging

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """One file's neurons, as numbered in the layer, and the columns that hold them among the captured values."""

    number: int
    neurons: range
    columns: range


def layer_blocks(pieces: Sequence[range]) -> list[Block]:
    """Blocks of a layer whose captured values are those of ``pieces``, side by side; piece k is block k."""
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return [
        Block(number, piece, range(end - len(piece), end))
        for number, (piece, end) in enumerate(zip(pieces, ends, strict=True))
    ]


class LayerFiles:
    """Writes the files of one layer (``component``, ``layer``) of a model over the row ids ``rows`` of a shard.

    One file per block of neurons. ``scales`` are those of the captured neurons, (N,), for dumps in ``int8``.
    """

    def __init__(
        self, staging: Staging, model: str, component: str, layer: int, shard: int, rows: range, scales: Floats | None
    ) -> None:
        self._staging = staging
        self._place = (model, component, layer)
        self._shard = shard
        self._rows = rows
        self._scales = scales

    def write(self, rows: Rows, blocks: Sequence[Block], capture: Capture) -> None:
        """Write ``rows`` (T, N), as the extractor gave them in the plan's ``forward_dtype``."""
        if capture.mode != "dense":
            self._write_sparse(rows.in_order(), blocks, capture)
        elif self._scales is not None:
            self._write_int8(rows.in_order().view(np.float32), blocks, capture, self._scales)
        else:
            for block in blocks:
                self._write_dense(RowMajor(rows.bits, rows.places, block.columns), block, capture)

    def _write_sparse(self, values: Bits, blocks: Sequence[Block], capture: Capture) -> None:
        dtype = capture.value_dtype
        rule = top_k(capture.k) if capture.k is not None else above(capture.threshold or 0.0, dtype)
        found = select(values, rule, dtype)
        for block in blocks:
            columns = block.columns
            inside = np.flatnonzero((found.neuron >= columns.start) & (found.neuron < columns.stop))
            write_sparse(
                self._staging.path(self._path(block)),
                found.neuron[inside] + (block.neurons.start - columns.start),
                found.row[inside] + self._rows.start,
                found.values[inside],
                neurons=block.neurons,
                rows=self._rows,
                dtype=dtype,
                reduction=Reduction(
                    capture.rule or "", lost_share(_part(found.lost, block), _part(found.total, block))
                ),
            )

    def _write_int8(self, values: Floats, blocks: Sequence[Block], capture: Capture, scales: Floats) -> None:
        for block in blocks:
            found = quantise(_part(values, block), _part(scales, block))
            loss = lost_share(found.lost, found.total)
            reduction = Reduction(capture.rule or "", loss, int(found.n_clipped.sum()))
            path, first = self._staging.path(self._path(block)), block.neurons.start
            write_few_values(path, found.bits, first_neuron=first, row_ids=self._row_ids(), reduction=reduction)

    def _write_dense(self, source: RowMajor, block: Block, capture: Capture) -> None:
        path, first = self._path(block), block.neurons.start
        local, dtype = self._staging.path(path), capture.value_dtype
        facts = write_activations(local, source, first_neuron=first, row_ids=self._row_ids(), dtype=dtype)
        self._staging.wrote(path, facts)

    def _row_ids(self) -> npt.NDArray[np.int64]:
        return np.arange(self._rows.start, self._rows.stop, dtype=np.int64)

    def _path(self, block: Block) -> str:
        return activation_file(*self._place, block.number, self._shard)


def _part(values: Any, block: Block) -> Any:
    """The block's columns of an array whose last axis is the captured neurons."""
    return values[..., block.columns.start : block.columns.stop]


def lost_share(lost: Sums, total: Sums) -> float:
    """Σ lost ÷ Σ total; 0 where all values are 0."""
    every = float(total.sum())
    return float(lost.sum()) / every if every else 0.0
