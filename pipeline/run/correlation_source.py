"""Correlations tile by tile, from the co-moments that a fold has left: what clusters and edges are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import numpy.typing as npt

from pipeline.correlate.tile import Tile
from pipeline.run.moment_tiles import MomentTiles
from pipeline.run.progress import Progress
from pipeline.stats.cross_moments import correlations_of


def correlation_tiles(tiles: MomentTiles) -> Iterator[Tile]:
    """Pearson's r in [−1, 1] of each two blocks once, in the precision of the products; NaN for constant neurons."""
    ranges = tiles.axis.ranges
    for row, column in sorted(tiles.receipts):
        a, b = ranges[row], ranges[column]
        m2_a, m2_b = tiles.m2[a.start : a.stop], tiles.m2[b.start : b.stop]
        r = correlations_of(tiles.tile(row, column), m2_a, m2_b, tiles.precision)
        yield Tile(a, b, np.clip(r, -1, 1, out=r).astype(tiles.precision, copy=False))


def watched_passes(tiles: MomentTiles, progress: Progress, stage: str) -> Callable[[], Iterator[Tile]]:
    """A source of :func:`correlation_tiles` for as many passes as one likes; each is a stage for those who watch."""
    passes = count(1)

    def source() -> Iterator[Tile]:
        n_pairs = n_pairs_of(tiles.axis.n_neurons)
        progress.start(f"{stage}, pass {next(passes)}", n_pairs, "pairs")
        for tile in correlation_tiles(tiles):
            n = len(tile.rows)
            yield tile
            progress.advance(n_pairs_of(n) if tile.is_diagonal else n * len(tile.columns))
        progress.finish(f"{n_pairs:,} pairs of neurons looked at")

    return source


def correlations_among(
    tiles: MomentTiles, neurons: npt.NDArray[np.int64], progress: Progress
) -> npt.NDArray[np.float64]:
    """Pearson's r (n, n) of some neurons, as :func:`correlation_tiles` has it; reads the tiles that hold two of them.

    ``neurons`` ascend.
    """
    found = np.full((len(neurons), len(neurons)), np.nan)
    places = [np.flatnonzero((neurons >= block.start) & (neurons < block.stop)) for block in tiles.axis.ranges]
    progress.start("pairs of the largest clusters", len(tiles.receipts), "tiles")
    for row, column in sorted(tiles.receipts):
        a, b = places[row], places[column]
        if len(a) and len(b):
            i, j = neurons[a], neurons[b]
            cells = np.ix_(i - tiles.axis.ranges[row].start, j - tiles.axis.ranges[column].start)
            r = correlations_of(tiles.tile(row, column)[cells], tiles.m2[i], tiles.m2[j], tiles.precision)
            found[np.ix_(a, b)] = np.clip(r, -1, 1).astype(tiles.precision)
            found[np.ix_(b, a)] = found[np.ix_(a, b)].T
        progress.advance(1)
    progress.finish(f"of {len(neurons):,} neurons")
    return found


def n_pairs_of(n_neurons: int) -> int:
    """N(N − 1)/2."""
    return n_neurons * (n_neurons - 1) // 2
