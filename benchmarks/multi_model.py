"""Speed of comparing two models, from second moments, beside what one would write neuron by neuron.

    python -m benchmarks.multi_model [--rows 4096] [--neurons 768] [--sample 2] [--rounds 3]

Two models of as many neurons each over the same rows: mixtures of common sources, and noise of their own. In turn,
medians of all rounds, in seconds for all neurons of one model:

moments      the three products of centred activations, which every figure below is made of
maxcorr      from moments, beside a loop of one neuron after another: `numpy.corrcoef` with all of the other model, on a
             sample; and the product of one centred neuron with the other model, centred and scaled before (`gemv`)
linreg       from moments, beside `numpy.linalg.lstsq` for one neuron after another, on a sample; and for all at once
svcca        from moments, beside singular value decompositions of the activations

Ratios are with the moments counted in full for each figure, and without. Results are compared with the peers'.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import show
from pipeline.correlate.best_partners import best_partners
from pipeline.correlate.canonical_correlation import canonical_correlations, svcca_scores
from pipeline.correlate.linear_regression import linear_regression

Floats = NDArray[np.float64]
#: Largest difference from a peer that is rounding.
CLOSE = 1e-8


def related_models(n_rows: int, n_neurons: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Half of each neuron's variance, on average, from sources that both models share."""
    random = np.random.default_rng(seed)
    sources = random.standard_normal((n_rows, n_neurons // 4))
    mixed = []
    for _ in range(2):
        weights = random.standard_normal((n_neurons // 4, n_neurons)) / np.sqrt(n_neurons // 4)
        mixed.append(sources @ weights + random.standard_normal((n_rows, n_neurons)) + 10)
    return mixed[0], mixed[1]


def moments(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return x.T @ x, y.T @ y, x.T @ y


def corrcoef_each(x: Floats, y: Floats, neurons: range) -> Floats:
    return np.array([np.abs(np.corrcoef(x[:, i], y, rowvar=False)[0, 1:]).max() for i in neurons])


def gemv_each(x: Floats, y: Floats) -> Floats:
    y = y - y.mean(axis=0)
    y = np.ascontiguousarray((y / np.linalg.norm(y, axis=0)).T)
    found = []
    for i in range(x.shape[1]):
        column = x[:, i] - x[:, i].mean()
        found.append(np.abs(y @ (column / np.linalg.norm(column))).max())
    return np.array(found)


def lstsq_each(x: Floats, y: Floats, neurons: range) -> Floats:
    y = y - y.mean(axis=0)
    found = []
    for i in neurons:
        column = x[:, i] - x[:, i].mean()
        rest = column - y @ np.linalg.lstsq(y, column, rcond=None)[0]
        found.append(1 - rest @ rest / (column @ column))
    return np.array(found)


def lstsq_all(x: Floats, y: Floats) -> Floats:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    rest = x - y @ np.linalg.lstsq(y, x, rcond=None)[0]
    return np.asarray(1 - (rest**2).sum(axis=0) / (x**2).sum(axis=0))


def svcca_by_svd(x: Floats, y: Floats) -> float:
    bases = []
    for values in (x, y):
        left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        share = np.cumsum(sizes**2) / np.sum(sizes**2)
        bases.append(left[:, : int(np.argmax(share >= 0.99)) + 1])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean())


def seconds(way: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    found = way()
    return time.perf_counter() - start, found


def check(name: str, found: object, expected: object) -> None:
    difference = float(np.max(np.abs(np.asarray(found) - np.asarray(expected))))
    if not difference < CLOSE:
        raise SystemExit(f"{name}: differs from its peer by {difference}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 4096), ("neurons", 768), ("sample", 2), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    x, y = related_models(options.rows, options.neurons)
    aa, bb, ab = moments(x, y)
    m2, few = aa.diagonal(), range(min(options.sample, options.neurons))
    scale = options.neurons / len(few)
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "moments": (lambda: moments(x, y), 1),
        "maxcorr": (lambda: best_partners(ab, m2, bb.diagonal()).abs_r, 1),
        "linreg": (lambda: linear_regression(m2, bb, ab, options.rows).r2, 1),
        "svcca": (lambda: svcca_scores(canonical_correlations(aa, bb, ab, options.rows)).score, 1),
        "corrcoef, each neuron": (lambda: corrcoef_each(x, y, few), scale),
        "gemv, each neuron": (lambda: gemv_each(x, y), 1),
        "lstsq, each neuron": (lambda: lstsq_each(x, y, few), scale),
        "lstsq, all at once": (lambda: lstsq_all(x, y), 1),
        "svd of activations": (lambda: svcca_by_svd(x, y), 1),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, object] = {}
    for _ in range(options.rounds + 1):  # in the first, libraries are loaded and memory is new
        for name, (way, times) in ways.items():
            spent, found[name] = seconds(way)
            taken[name].append(spent * times)
    for ours, theirs in PEERS:
        expected = np.asarray(found[theirs])
        check(ours, np.asarray(found[ours])[: expected.size] if expected.ndim else found[ours], expected)
    report(options, {name: statistics.median(times[1:]) for name, times in taken.items()})


#: Ours and what it is measured beside.
PEERS = (
    ("maxcorr", "corrcoef, each neuron"),
    ("maxcorr", "gemv, each neuron"),
    ("linreg", "lstsq, each neuron"),
    ("linreg", "lstsq, all at once"),
    ("svcca", "svd of activations"),
)


def report(options: argparse.Namespace, taken: dict[str, float]) -> None:
    show({"rows, neurons, neurons sampled": f"{options.rows:,}, {options.neurons:,}, {options.sample}"})
    show({f"{name}: s": f"{spent:.3f}" for name, spent in taken.items()})
    for ours, theirs in PEERS:
        alone, full = taken[ours], taken[ours] + taken["moments"]
        show({f"{ours} ÷ {theirs}": f"{taken[theirs] / full:,.1f}, of moments alone {taken[theirs] / alone:,.1f}"})


if __name__ == "__main__":
    main()
