"""Search speed: exact scores of (neuron, concept) pairs per second, through the states and through a scikit-learn loop.

    python benchmarks/search.py [--rows 200000] [--neurons 256] [--concepts 50] [--threads 2] [--shards 4]

Concepts hold for 0.05 % to 15 % of the rows (log-spaced). Activations are float16: normal, and for every eighth neuron
rectified (half of its rows are equal) or skewed. The states' time includes encoding, folding all shards and all five
methods with both signs; scikit-learn's is `average_precision_score` alone, one sign, on a sample of pairs. Kernels are
compiled before the clock starts, and the fastest of some rounds counts (the first pays for fresh memory). The sample's
scores are compared.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from pipeline.search import BlockScores, score_block
from pipeline.stats import ConceptHistogram, LabelMatrix, encode_codes


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


def search(
    shards: list[tuple[NDArray[np.uint16], LabelMatrix]], threads: int, seconds: dict[str, float]
) -> BlockScores:
    n_neurons, labels = len(shards[0][0]), shards[0][1]
    expected = np.sum([labels.counts for _, labels in shards], axis=0)
    start = time.perf_counter()
    state = ConceptHistogram.empty(n_neurons, labels.n_concepts, expected_positives=expected)
    for bits, labels in shards:
        state.update(encode_codes(bits, "float16"), labels, threads)
    seconds["fold"] = time.perf_counter() - start
    scores = score_block(state, threads=threads)
    seconds["score"] = time.perf_counter() - start - seconds["fold"]
    return scores


def scikit_learn_rate(values: NDArray[np.float16], labels: LabelMatrix, scores: BlockScores, n_pairs: int) -> float:
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
    return n_pairs / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 200_000), ("neurons", 256), ("concepts", 50), ("threads", 2), ("shards", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=5, help="the fastest counts")
    parser.add_argument("--sample", type=int, default=40, help="pairs for scikit-learn")
    options = parser.parse_args()
    values = planted_activations(options.neurons, options.rows)
    labels = random_concepts(options.rows, options.concepts)
    shards = []
    for rows in np.array_split(np.arange(options.rows), options.shards):
        mask = np.zeros(options.rows, bool)
        mask[rows] = True
        shards.append((np.ascontiguousarray(values[:, rows]).view(np.uint16), labels.select_rows(mask)))
    few = [(bits[:2], part) for bits, part in shards]
    search(few, options.threads, {})  # compiles
    rounds: list[dict[str, float]] = [{} for _ in range(options.rounds)]
    for seconds in rounds:
        scores = search(shards, options.threads, seconds)
    seconds = min(rounds, key=lambda round_: sum(round_.values()))
    rate = options.neurons * options.concepts / sum(seconds.values())
    sklearn_rate = scikit_learn_rate(values, labels, scores, options.sample)
    print(f"rows {options.rows:,}  neurons {options.neurons}  concepts {options.concepts}  threads {options.threads}")
    print(f"states        {rate:10,.0f} pairs/s   (fold {seconds['fold']:.2f} s, score {seconds['score']:.2f} s)")
    print(f"scikit-learn  {sklearn_rate:10,.0f} pairs/s   ({options.sample} pairs, largest difference below 1e-9)")
    print(f"ratio         {rate / sklearn_rate:10,.0f}")


if __name__ == "__main__":
    main()
