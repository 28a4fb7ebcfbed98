"""The sweep on a GPU: the same counts as ``ConceptHistogram`` and the same sums as the compiled walk, by torch.

A walk visits the values where a concept has positives; a GPU is better off with all 65,536 at once, as cumulative sums
over (neurons, codes). Counts are whole numbers and equal to the bit; sums of quotients are float64 in another order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.sweep import CutRule, Cuts, Sweep, axis_bins, cuts_of_counts
from pipeline.stats.codes import N_CODES, check_half_dtype, code_values
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.value_block import check_codes, check_rows
from schemas.errors import ConfigError


class DeviceHistogram:
    """Counts of N neurons over the 65,536 codes, and the codes of every concept's positives, in a device's memory."""

    def __init__(self, n_neurons: int, n_concepts: int, dtype: str, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("search.device: there is no CUDA device here; leave it out, or give cpu")
        self.dtype, self.device = check_half_dtype(dtype), torch.device(device)
        self.n_rows, self.n_pos = 0, np.zeros(n_concepts, np.int64)
        self.total = torch.zeros((n_neurons, N_CODES), dtype=torch.int64, device=self.device)
        self._positives: list[tuple[torch.Tensor, NDArray[np.int64]]] = []
        self._offsets = N_CODES * torch.arange(n_neurons, device=self.device)[:, None]

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.total)

    def update(self, codes: NDArray[np.uint16], labels: LabelMatrix) -> None:
        """Add a batch: ``codes`` uint16 (N, T) as made by ``encode_codes``, ``labels`` of the same T rows."""
        codes = check_codes(codes, self.n_neurons)
        check_rows(codes.shape[1], labels.n_rows, "labels")
        # torch cannot index every device's uint16: the same bits as int16, widened where they count
        here = torch.from_numpy(codes.view(np.int16)).to(self.device)
        self.total += self._counts(here)
        rows = torch.from_numpy(labels.rows).to(self.device)
        self._positives.append((here[:, rows], labels.indptr))
        self.n_pos = self.n_pos + labels.counts
        self.n_rows += labels.n_rows

    def positives(self, concept: int) -> torch.Tensor:
        """Counts of one concept's positives, int64 (N, 65,536)."""
        parts = [codes[:, at[concept] : at[concept + 1]] for codes, at in self._positives]
        return self._counts(torch.cat(parts, dim=1)) if parts else torch.zeros_like(self.total)

    def _counts(self, codes: torch.Tensor) -> torch.Tensor:
        """Of int16 ``codes`` (N, …), int64 (N, 65,536)."""
        flat = ((codes.int() & 0xFFFF) + self._offsets).reshape(-1)
        return torch.bincount(flat, minlength=self.total.numel()).reshape(self.total.shape)


def device_cuts(histogram: DeviceHistogram, rule: CutRule) -> Cuts:
    """As :func:`~pipeline.search.sweep.histogram_cuts`, to the bit: chosen on the host, of the same counts."""
    return cuts_of_counts(histogram.total.cpu().numpy(), code_values(histogram.dtype), rule)


def device_sweep(histogram: DeviceHistogram, cuts: Cuts) -> Sweep:
    """As :func:`~pipeline.search.sweep.sweep`, of whose results the sums may differ by rounding."""
    n_neurons, n_concepts, axis = histogram.n_neurons, len(histogram.n_pos), code_values(histogram.dtype)
    at = axis_bins(axis, cuts, (n_neurons, n_concepts))
    total = histogram.total.double()
    ties = (total**3 - total).sum(dim=1).cpu().numpy()
    below = torch.nn.functional.pad(total.cumsum(dim=1), (1, 0))
    strict, edges = (torch.from_numpy(bins).to(histogram.device) for bins in (at.strict, at.edges))
    results = np.zeros((n_neurons, n_concepts, k.N_RESULTS))
    for concept in np.flatnonzero(histogram.n_pos):
        best = torch.from_numpy(at.best[:, concept]).to(histogram.device) if at.is_heldout else None
        counts = histogram.positives(int(concept)).double()
        for place, values in _results(counts, below, strict, edges, best):
            results[:, concept, place] = values.cpu().numpy()
    found = results[..., [k.BEST_BIN_POS, k.BEST_BIN_NEG]].astype(np.int64)
    best_values = axis[found] if cuts.best is None else cuts.best
    return Sweep(histogram.n_rows, histogram.n_pos, results, ties, Cuts(cuts.strict, cuts.edges, best_values))


def _results(
    counts: torch.Tensor, below: torch.Tensor, strict: torch.Tensor, edges: torch.Tensor, best: torch.Tensor | None
) -> Iterator[tuple[int, torch.Tensor]]:
    """Places of a walk's results, and their values (N,), of one concept with ``counts`` (N, B) positives per code."""
    before = torch.nn.functional.pad(counts.cumsum(dim=1), (1, 0))
    n_pos, n_rows = before[:, -1:], below[:, -1:]
    above, through = n_pos - before[:, :-1], before[:, 1:]
    rows_above, rows_through = n_rows - below[:, :-1], below[:, 1:]
    is_there = counts > 0
    yield k.AP_POS, _sum(counts * above / rows_above, is_there)
    yield k.AP_NEG, _sum(counts * through / rows_through, is_there)
    yield k.RANK_SUM, (_sum(counts * (below[:, :-1] + rows_through), is_there) + n_pos[:, 0]) / 2
    yield k.INFORMATION, _information(before.gather(1, edges), below.gather(1, edges), n_pos, n_rows)
    upper, lower = strict[:, :1], strict[:, 1:] + 1
    yield k.CUT_TP_POS, (n_pos - before.gather(1, upper))[:, 0]
    yield k.CUT_N_POS, (n_rows - below.gather(1, upper))[:, 0]
    yield k.CUT_TP_NEG, before.gather(1, lower)[:, 0]
    yield k.CUT_N_NEG, below.gather(1, lower)[:, 0]
    if best is not None:
        upper, lower = best[:, :1], best[:, 1:] + 1
        yield k.BEST_CUT_TP_POS, (n_pos - before.gather(1, upper))[:, 0]
        yield k.BEST_CUT_N_POS, (n_rows - below.gather(1, upper))[:, 0]
        yield k.BEST_CUT_TP_NEG, before.gather(1, lower)[:, 0]
        yield k.BEST_CUT_N_NEG, below.gather(1, lower)[:, 0]
        return
    last = counts.shape[1] - 1
    union = rows_above + n_pos - above
    # of equally good thresholds the one that predicts fewer rows: argmax takes the first
    places = last - torch.where(is_there, above / union, -1).flip(1).argmax(dim=1, keepdim=True)
    yield from zip(
        (k.BEST_TP_POS, k.BEST_UNION_POS, k.BEST_BIN_POS),
        (above.gather(1, places)[:, 0], union.gather(1, places)[:, 0], places[:, 0]),
        strict=True,
    )
    union = rows_through + n_pos - through
    places = torch.where(is_there, through / union, -1).argmax(dim=1, keepdim=True)
    yield from zip(
        (k.BEST_TP_NEG, k.BEST_UNION_NEG, k.BEST_BIN_NEG),
        (through.gather(1, places)[:, 0], union.gather(1, places)[:, 0], places[:, 0]),
        strict=True,
    )


def _sum(values: torch.Tensor, is_there: torch.Tensor) -> torch.Tensor:
    """Over the codes that have positives; elsewhere ``values`` may be NaN."""
    return torch.where(is_there, values, 0).sum(dim=1)


def _information(
    positives: torch.Tensor, rows: torch.Tensor, n_pos: torch.Tensor, n_rows: torch.Tensor
) -> torch.Tensor:
    """Mutual information in bits, from positives and rows (N, E + 1) below the edges of the intervals."""
    inside, hits = rows.diff(dim=1), positives.diff(dim=1)
    misses = inside - hits
    bits = torch.where(hits > 0, hits * torch.log2(hits / inside * (n_rows / n_pos)), 0)
    bits += torch.where(misses > 0, misses * torch.log2(misses / inside * (n_rows / (n_rows - n_pos))), 0)
    return bits.sum(dim=1) / n_rows[:, 0]
