"""Search speed: exact scores of (neuron, concept) pairs per second, beside what one would write otherwise.

    python -m benchmarks.search [--rows 200000] [--neurons 768] [--concepts 50] [--threads 2] [--shards 4] [--rounds 5]

Concepts hold for 0.05 % to 15 % of the rows (log-spaced). Activations are float16: normal, and for every eighth neuron
rectified (half of its rows are equal) or skewed. In turn, medians of all rounds:

thresholds    encoding, folding all shards and scoring by all methods that look at thresholds, both signs
means         folding all shards and scoring by all methods that look at means
torch         average precision of one sign by a batched sort, ties broken anyhow: sixteen neurons at a time
scikit-learn  `average_precision_score`, one sign, on a sample of pairs, whose scores are compared
scipy         the product of the sparse labels and the dense activations (float32), which every method by means needs
device        as thresholds, on a GPU where there is one, codes made and copied there included
limit         the codes of all rows counted once, and those of all positives read once, from where they are

Kernels are compiled before the clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from benchmarks.inputs import show
from pipeline.compiled import kernel
from pipeline.run.heap import keep_freed_memory
from pipeline.search import BlockScores, CutRule, score_block, score_means
from pipeline.search.device_sweep import DeviceHistogram, device_cuts, device_sweep
from pipeline.search.search_states import score_sweeps
from pipeline.stats import ConceptHistogram, ConceptMoments, LabelMatrix, encode_codes
from pipeline.stats.threads import over_neurons

Shards = list[tuple[NDArray[Any], LabelMatrix]]


def planted_activations(n_neurons: int, n_rows: int, seed: int = 0) -> NDArray[np.float16]:
    random = np.random.default_rng(seed)
    values = random.standard_normal((n_neurons, n_rows), dtype=np.float32)
    values[::8] = np.maximum(values[::8], 0)
    values[4::8] = np.exp(values[4::8])
    return values.astype(np.float16)


def random_concepts(n_rows: int, n_concepts: int, seed: int = 1) -> LabelMatrix:
    random = np.random.default_rng(seed)
    rates = np.geomspace(0.0005, 0.15, n_concepts)
    rows = [np.flatnonzero(random.random(n_rows) < rate) for rate in rates]
    concepts = np.repeat(np.arange(n_concepts), [len(r) for r in rows])
    return LabelMatrix.from_pairs(np.concatenate(rows), concepts, n_rows, n_concepts)


def by_thresholds(shards: Shards, threads: int) -> BlockScores:
    labels = shards[0][1]
    expected = np.sum([labels.counts for _, labels in shards], axis=0)
    state = ConceptHistogram.empty(len(shards[0][0]), labels.n_concepts, expected_positives=expected)
    for bits, labels in shards:
        state.update(encode_codes(bits.view(np.uint16), "float16", threads), labels, threads)
    return score_block(state, threads=threads)


def by_device(shards: Shards) -> BlockScores:
    state = DeviceHistogram(len(shards[0][0]), shards[0][1].n_concepts, "float16", "cuda")
    for bits, labels in shards:
        state.update(encode_codes(bits.view(np.uint16), "float16"), labels)
    return score_sweeps(device_sweep(state, device_cuts(state, CutRule())))


def by_means(shards: Shards, threads: int) -> BlockScores:
    state = ConceptMoments.empty(len(shards[0][0]), shards[0][1].n_concepts)
    for values, labels in shards:
        state.update(values, labels, threads)
    return score_means(state)


def by_torch(values: NDArray[np.float32], labels: LabelMatrix) -> torch.Tensor:
    """Average precision (N, C) with ties in any order."""
    masks = torch.zeros(labels.n_concepts, labels.n_rows)
    masks[torch.from_numpy(labels.concepts), torch.from_numpy(labels.rows).long()] = 1
    ranks, parts = torch.arange(1, labels.n_rows + 1), []
    for batch in torch.from_numpy(values).split(16):
        order = batch.sort(dim=1, descending=True).indices
        for places in order:
            hits = masks[:, places]
            parts.append((hits.cumsum(1) / ranks * hits).sum(1) / hits.sum(1))
    return torch.stack(parts)


def by_scikit_learn(values: NDArray[np.float16], labels: LabelMatrix, scores: BlockScores, n_pairs: int) -> float:
    """Seconds a pair."""
    random = np.random.default_rng(2)
    pairs = zip(
        random.integers(len(values), size=n_pairs), random.integers(labels.n_concepts, size=n_pairs), strict=True
    )
    spent = 0.0
    for neuron, concept in pairs:
        mask = np.zeros(labels.n_rows, bool)
        mask[labels.rows[labels.indptr[concept] : labels.indptr[concept + 1]]] = True
        sign = scores.methods["ap"].sign[neuron, concept]
        column = sign * values[neuron].astype(np.float64)
        start = time.perf_counter()
        expected = average_precision_score(mask, column)
        spent += time.perf_counter() - start
        difference = abs(expected - scores.methods["ap"].score[neuron, concept])
        if difference > 1e-9:
            raise SystemExit(f"neuron {neuron}, concept {concept}: differs from scikit-learn by {difference}")
    return spent / n_pairs


@kernel
def _touch(first: int, last: int, codes: NDArray[np.uint16], rows: NDArray[np.int32], out: NDArray[np.int64]) -> None:
    for neuron in range(first, last):
        column, seen = codes[neuron], 0
        for code in column:
            out[neuron, code] += 1
        for row in rows:
            seen += column[row]
        out[neuron, 0] += seen


def limit(codes: NDArray[np.uint16], labels: LabelMatrix, threads: int) -> None:
    counts = np.zeros((len(codes), 1 << 16), np.int64)
    over_neurons(lambda first, last: _touch(first, last, codes, labels.rows, counts), len(codes), threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 200_000), ("neurons", 768), ("concepts", 50), ("threads", 2), ("shards", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=40, help="pairs for scikit-learn")
    parser.add_argument("--torch-neurons", type=int, default=32, help="neurons for torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    values = planted_activations(options.neurons, options.rows)
    labels = random_concepts(options.rows, options.concepts)
    shards, wide = [], []
    for rows in np.array_split(np.arange(options.rows), options.shards):
        mask = np.zeros(options.rows, bool)
        mask[rows] = True
        part = np.ascontiguousarray(values[:, rows])
        shards.append((part, labels.select_rows(mask)))
        wide.append((part.astype(np.float32), shards[-1][1]))
    keep_freed_memory()  # as workers do
    codes = encode_codes(values.view(np.uint16), "float16")
    few = values[: options.torch_neurons].astype(np.float32)
    sparse = scipy.sparse.csc_array(
        (np.ones(len(labels.rows), np.float32), labels.rows, labels.indptr), (options.rows, options.concepts)
    ).T.tocsr()
    dense = np.ascontiguousarray(values.T.astype(np.float32))
    n_pairs = options.neurons * options.concepts
    scores = by_thresholds(shards, options.threads)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "thresholds": (lambda: by_thresholds(shards, options.threads), n_pairs),
        "means": (lambda: by_means(wide, options.threads), n_pairs),
        "torch": (lambda: by_torch(few, labels), len(few) * options.concepts),
        "scipy": (lambda: sparse @ dense, n_pairs),
        "limit": (lambda: limit(codes, labels, options.threads), n_pairs),
    }
    if torch.cuda.is_available():
        ways["device"] = (lambda: by_device(shards), n_pairs)
    taken: dict[str, list[float]] = {name: [] for name in [*ways, "scikit-learn"]}
    for _ in range(options.rounds + 1):  # the first compiles, and its memory is new
        for name, (way, n) in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append((time.perf_counter() - start) / n)
        taken["scikit-learn"].append(by_scikit_learn(values, labels, scores, options.sample))
    report(options, {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}, len(labels.rows))


def report(options: argparse.Namespace, seconds: dict[str, float], n_labels: int) -> None:
    n_pairs = options.neurons * options.concepts
    sizes = f"{options.rows:,}, {options.neurons}, {options.concepts}, {n_labels:,}, {options.threads}"
    show({"rows, neurons, concepts, labels, threads": sizes})
    show({f"{name}: pairs/s": f"{1 / pair:,.0f}, {pair * n_pairs:.2f} s for all" for name, pair in seconds.items()})
    thresholds = seconds["thresholds"]
    show(
        {
            "thresholds ÷ scikit-learn": f"{seconds['scikit-learn'] / thresholds:,.0f}",
            "thresholds ÷ torch": f"{seconds['torch'] / thresholds:,.0f}",
            **({"device ÷ thresholds": f"{thresholds / seconds['device']:.1f}"} if "device" in seconds else {}),
            "thresholds, share of the limit": f"{seconds['limit'] / thresholds:.0%}",
            "means, times scipy's product": f"{seconds['means'] / seconds['scipy']:.2f}",
        }
    )


if __name__ == "__main__":
    main()
