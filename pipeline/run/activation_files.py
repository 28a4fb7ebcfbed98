"""The activation files of one captured layer over one shard, as the plan's mode and dtype want them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.extract.int8_codes import Floats, quantise
from pipeline.extract.selection import above, select, top_k
from pipeline.extract.storage_dtype import Bits
from pipeline.run.plan_record import Capture
from pipeline.store.footer import Reduction
from pipeline.store.parquet import BLOCK_NEURONS, write_activations
from pipeline.store.paths import activation_file
from pipeline.store.sparse import write_sparse
from pipeline.store.staging import Staging

Sums = npt.NDArray[np.float64]


class LayerFiles:
    """Writes the files of one layer (``component``, ``layer``) of a model over the row ids ``rows`` of a shard.

    One file per block of neurons. ``scales`` are the layer's, (N,), for dumps in ``int8``.
    """

    def __init__(
        self, staging: Staging, model: str, component: str, layer: int, shard: int, rows: range, scales: Floats | None
    ) -> None:
        self._staging = staging
        self._place = (model, component, layer)
        self._shard = shard
        self._rows = rows
        self._scales = scales

    def write(self, values: Bits, capture: Capture) -> None:
        """Write ``values`` (T, N), as the extractor gave them in the plan's ``forward_dtype``."""
        if capture.mode != "dense":
            self._write_sparse(values, capture)
        elif self._scales is not None:
            self._write_int8(values.view(np.float32), capture, self._scales)
        else:
            for block, neurons in _blocks(values.shape[1]):
                part = values[:, neurons.start : neurons.stop]
                self._write_wide(block, neurons, part, dtype=capture.value_dtype)

    def _write_sparse(self, values: Bits, capture: Capture) -> None:
        dtype = capture.value_dtype
        rule = top_k(capture.k) if capture.k is not None else above(capture.threshold or 0.0, dtype)
        found = select(values, rule, dtype)
        for block, neurons in _blocks(values.shape[1]):
            inside = np.flatnonzero((found.neuron >= neurons.start) & (found.neuron < neurons.stop))
            write_sparse(
                self._path(block),
                found.neuron[inside],
                found.row[inside] + self._rows.start,
                found.values[inside],
                neurons=neurons,
                rows=self._rows,
                dtype=dtype,
                reduction=Reduction(capture.rule or "", lost_share(found.lost, found.total, neurons)),
            )

    def _write_int8(self, values: Floats, capture: Capture, scales: Floats) -> None:
        for block, neurons in _blocks(values.shape[1]):
            found = quantise(values[:, neurons.start : neurons.stop], scales[neurons.start : neurons.stop])
            loss = lost_share(found.lost, found.total, range(len(neurons)))
            reduction = Reduction(capture.rule or "", loss, int(found.n_clipped.sum()))
            self._write_wide(
                block, neurons, found.bits, dtype=capture.value_dtype, reduction=reduction, few_values=True
            )

    def _write_wide(self, block: int, neurons: range, part: Bits, **options: Any) -> None:
        row_ids = np.arange(self._rows.start, self._rows.stop, dtype=np.int64)
        write_activations(self._path(block), part, first_neuron=neurons.start, row_ids=row_ids, **options)

    def _path(self, block: int) -> Any:
        return self._staging.path(activation_file(*self._place, block, self._shard))


def lost_share(lost: Sums, total: Sums, neurons: range) -> float:
    """Σ lost ÷ Σ total over ``neurons``; 0 where all values are 0."""
    every = float(total[neurons.start : neurons.stop].sum())
    return float(lost[neurons.start : neurons.stop].sum()) / every if every else 0.0


def _blocks(n_neurons: int) -> list[tuple[int, range]]:
    firsts = range(0, n_neurons, BLOCK_NEURONS)
    return [(block, range(first, min(first + BLOCK_NEURONS, n_neurons))) for block, first in enumerate(firsts)]
