"""Non-negative factors: time and error of passes of exact least squares, and of scikit-learn on the same rows.

    python -m benchmarks.factors [--rows 20000] [--neurons 768] [--factors 16] [--passes 5]

Rows are GELU of 64 heavy-tailed signals mixed into all neurons, with noise; the first signal drifts from the first row
to the last, as topics do in a corpus. The peers are `MiniBatchNMF.partial_fit` over the same batches as often as ours
passes over them, then its `transform` (ours hands out the values of all rows too), and `NMF` of the whole matrix in
memory, 200 iterations. CPU time, all with one thread for products of matrices. The error is ‖X − W H‖ / ‖X‖.

The limit is of this run: the two products of rows and factors that every pass needs, at the rate at which one core
multiplies such matrices.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.decomposition import NMF, MiniBatchNMF
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from pipeline.correlate.nonnegative_factors import FactorSettings, nonnegative_factors

BLOCK = 1024
Floats = NDArray[np.float64]


def activations(n_rows: int, n_neurons: int, seed: int = 0) -> NDArray[np.float32]:
    """Values (N, T)."""
    random = np.random.default_rng(seed)
    signals = random.standard_normal((64, n_rows)) ** 3
    signals[0] += np.linspace(-3, 3, n_rows)
    x = random.standard_normal((n_neurons, 64)) @ signals / 8 + 0.5 * random.standard_normal((n_neurons, n_rows)) - 0.5
    return (x * ndtr(x)).astype(np.float32)


def measured(fit: Callable[[], float]) -> tuple[float, float]:
    """Error and CPU seconds."""
    start = time.process_time()
    error = fit()
    return error, time.process_time() - start


def minibatch(x: Floats, n_factors: int, passes: int) -> float:
    """Error of scikit-learn's online factors of the rows ``x`` (T, N)."""
    model = MiniBatchNMF(n_factors, batch_size=BLOCK, random_state=0)
    for _ in range(passes):
        for first in range(0, len(x), BLOCK):
            model.partial_fit(x[first : first + BLOCK])
    return float(np.linalg.norm(x - model.transform(x) @ model.components_) / np.linalg.norm(x))


def whole(x: Floats, n_factors: int) -> float:
    """Error of scikit-learn's factors of the whole matrix."""
    model = NMF(n_factors, init="nndsvda", max_iter=200, random_state=0).fit(x)
    return float(model.reconstruction_err_ / np.linalg.norm(x))


def product_rate(n_neurons: int, n_factors: int) -> float:
    """Floating-point operations per second of (K, N) @ (N, T) in float64."""
    a, b = np.ones((n_factors, n_neurons)), np.ones((n_neurons, BLOCK))
    rounds, start = 50, time.process_time()
    for _ in range(rounds):
        a @ b
    return 2.0 * rounds * n_factors * n_neurons * BLOCK / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 20_000), ("neurons", 768), ("factors", 16), ("passes", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    values, k, passes = activations(options.rows, options.neurons), options.factors, options.passes
    x = np.maximum(values.T, 0, dtype=np.float64, order="C")
    warnings.simplefilter("ignore", ConvergenceWarning)

    def ours(passes: int) -> float:
        settings = FactorSettings(k, passes=passes, batch_rows=BLOCK, tolerance=0)
        return nonnegative_factors(lambda: [values], options.neurons, options.rows, settings).relative_error

    ours(0)  # compiles
    with threadpool_limits(1):
        rows = {
            "ours, the sample alone": measured(lambda: ours(0)),
            f"ours, {passes} passes": measured(lambda: ours(passes)),
            "MiniBatchNMF, 1 pass": measured(lambda: minibatch(x, k, 1)),
            f"MiniBatchNMF, {passes} passes": measured(lambda: minibatch(x, k, passes)),
            "NMF in memory": measured(lambda: whole(x, k)),
        }
        rate = product_rate(options.neurons, k)
    limit = (passes + 1) * 4 * options.rows * options.neurons * k / rate
    print(f"rows {options.rows:,}  neurons {options.neurons}  factors {k}")
    for name, (error, seconds) in rows.items():
        print(f"{name:28s} error {error:.4f}   {seconds:7.2f} s")
    print(f"{'limit, products of passes':28s}                {limit:7.2f} s   ({rate / 1e9:.1f} GFLOP/s)")


if __name__ == "__main__":
    main()
