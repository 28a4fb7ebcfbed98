"""Correlation clustering: time and memory, beside scipy's on the same correlations.

    python -m benchmarks.clusters [--neurons 6144] [--planted 20000] [--giant 0] [--rows 256] [--rounds 3]

Activations are normal, float32. Thresholds are 0.1, 0.2, … 0.9, all from one clustering. In turn:

apart     neurons of which a third are in planted clusters of 24 and the rest alone, r ≈ 0.8 inside clusters: thresholds
          up to 0.5, so that components are small
together  the same with a factor that all neurons share, so that they are one component
edges     the same number of neurons with planted clusters of 2 to 1,024: what a pair within the threshold costs
planted   this many neurons, all in planted clusters of 20, correlations made on the fly: every cluster must come back
giant     this many neurons in one component, correlations made on the fly (0: not run)

``scipy`` is distances, ``linkage`` and ``fcluster``; ``linkage alone`` is given condensed distances. Medians of all
rounds; partitions are compared at every threshold. Memory is the peak of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from benchmarks.inputs import show
from pipeline.correlate import Clustering, cluster_tiles, matrix_tiles, product_tiles

SWEEP = tuple(k / 10 for k in range(1, 10))
BLOCK = 2048


def planted(n_neurons: int, size: int, share: float, rows: int, common: float = 0, seed: int = 0) -> NDArray[Any]:
    """Standardised columns (rows, neurons): clusters of ``size`` for a ``share`` of the neurons, spread over all."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((n_neurons, rows), dtype=np.float32)
    n_clusters = int(n_neurons * share) // size
    factors = random.standard_normal((n_clusters, rows), dtype=np.float32)
    for neuron, cluster in enumerate(planted_clusters(n_neurons, size, n_clusters)):
        if cluster < n_clusters:
            values[neuron] = factors[cluster] + values[neuron] / 2
    values += common * random.standard_normal(rows, dtype=np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.T


def planted_clusters(n_neurons: int, size: int, n_clusters: int) -> NDArray[np.int64]:
    """The planted cluster of each neuron, in a fixed random order; others have a number of their own."""
    clusters = np.arange(n_neurons) // size
    rest = np.arange(n_neurons) >= n_clusters * size
    clusters[rest] = n_clusters + np.arange(int(rest.sum()))
    return np.random.default_rng(9).permutation(clusters)


def by_first(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels numbered in the order of their first neurons."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def by_scipy(r: NDArray[Any], thresholds: Sequence[float]) -> list[NDArray[Any]]:
    tree = linkage(condensed(r), "average")
    return [fcluster(tree, t, "distance") for t in thresholds]


def condensed(r: NDArray[Any]) -> NDArray[np.float64]:
    distances = 1 - np.abs(r.astype(np.float64))
    return np.maximum(squareform(distances, checks=False), 0)


def seconds(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), result


def beside_scipy(name: str, z: NDArray[Any], thresholds: Sequence[float], rounds: int) -> None:
    r = z.T @ z
    r = np.triu(r, 1) + np.triu(r, 1).T + np.eye(len(r), dtype=np.float32)
    tiles = matrix_tiles(r, BLOCK)
    cluster_tiles(tiles, len(r), thresholds)  # pages its memory in
    ours, found = seconds(lambda: cluster_tiles(tiles, len(r), thresholds)[0], rounds)
    scipys, expected = seconds(lambda: by_scipy(r, thresholds), rounds)
    distances = condensed(r)
    alone, _ = seconds(lambda: linkage(distances, "average"), rounds)
    for clusters, labels in zip(found.clusters, expected, strict=True):
        if not np.array_equal(clusters.labels, by_first(labels)):
            raise SystemExit(f"{name}, threshold {clusters.threshold}: another partition than scipy's")
    show(
        {
            f"{name}: neurons, largest component, edges": f"{len(r):,}, {found.largest_component:,}, {found.n_edges:,}",
            f"{name}: clusters": ", ".join(str(len(c.size)) for c in found.clusters),
            f"{name}: s": f"{ours:.2f}; scipy {scipys:.2f}, linkage alone {alone:.2f}",
            f"{name}: times as fast as scipy, as linkage alone": f"{scipys / ours:.1f}, {alone / ours:.1f}",
        }
    )


def by_edges(n_neurons: int, rows: int, rounds: int) -> None:
    for size in (2, 16, 128, 1024):
        if size > n_neurons:
            break
        tiles = product_tiles(planted(n_neurons, size, 1, rows), BLOCK)
        taken, found = seconds(lambda tiles=tiles: cluster_tiles(tiles, n_neurons, [0.3, 0.5])[0], rounds)
        making, _ = seconds(lambda tiles=tiles: sum(1 for _ in tiles()), rounds)
        show({f"edges, clusters of {size}": f"{found.n_edges:,}: {taken:.2f} s; one pass of tiles {making:.2f} s"})


def many(n_neurons: int, rows: int) -> str:
    before = _peak()
    z = planted(n_neurons, 20, 1, rows)
    start = time.perf_counter()
    found = cluster_tiles(product_tiles(z, BLOCK), n_neurons, [0.3, 0.4])[0]
    taken = time.perf_counter() - start
    expected = by_first(planted_clusters(n_neurons, 20, n_neurons // 20))
    if not np.array_equal(found.clusters[1].labels, expected):
        raise SystemExit("planted clusters did not come back at 0.4")
    return _cost(found, taken, before)


def giant(n_neurons: int, rows: int) -> str:
    before = _peak()
    z = planted(n_neurons, 24, 1 / 3, rows, common=0.7)
    megabytes = 4 * n_neurons * (n_neurons - 1) // (1 << 20) + 1
    start = time.perf_counter()
    found = cluster_tiles(product_tiles(z, BLOCK), n_neurons, SWEEP, memory_mb=megabytes)[0]
    return _cost(found, time.perf_counter() - start, before)


def _peak() -> float:
    """Gigabytes (1e9 bytes) that this process has held; ``ru_maxrss`` would count those of the one that spawned it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def _cost(found: Clustering, taken: float, before: float) -> str:
    counts = ", ".join(f"{len(clusters.size):,}" for clusters in found.clusters)
    return (
        f"{taken:.0f} s, {_peak():.2f} GB at the peak ({before:.2f} before the input); "
        f"{found.n_edges:,} edges, largest component {found.largest_component:,}; clusters {counts}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("neurons", 6144), ("planted", 20_000), ("giant", 0), ("rows", 256), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.neurons:
        few = planted(options.neurons, 24, 1 / 3, options.rows)
        beside_scipy("apart", few, SWEEP[:5], options.rounds)
        together = planted(options.neurons, 24, 1 / 3, options.rows, common=0.7)
        beside_scipy("together", together, SWEEP, options.rounds)
        by_edges(options.neurons, options.rows, options.rounds)
    for name, work, n_neurons in (("planted", many, options.planted), ("giant", giant, options.giant)):
        if n_neurons:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                show({f"{name}, {n_neurons:,} neurons": pool.apply(work, (n_neurons, options.rows))})


if __name__ == "__main__":
    main()
