"""Non-negative matrix factors of the activations of a layer, from passes over its rows.

X ≈ W H, with X (T, N) the non-negative parts max(x, 0), H (K, N) ≥ 0 the factors' weights (groups of neurons that fire
together: Olah et al. 2018, "The Building Blocks of Interpretability"; Alammar 2020, "Interfaces for Explaining
Transformer Language Models") and W (T, K) ≥ 0 the factors' values on the rows. The factors start from a sample of the
rows (:mod:`~pipeline.correlate.factor_start`). Then every pass over all rows is one alternation of exact least squares:
values row by row for fixed weights, then weights from the sums over all rows, so that the error never rises. Memory is
a batch of float64 per thread, and the sample.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.correlate.factor_pass import FactorPass, Floats, unit_rows
from pipeline.correlate.factor_start import sample_rows, start_factors
from pipeline.correlate.nonnegative_part import NonnegativePart, PartSizes
from pipeline.stats.single_thread import on_one_thread
from schemas.errors import UsageError

#: Rows of the sample that factors start from, and values of it; of a wide layer it has fewer rows.
SAMPLE_ROWS = 4096
SAMPLE_VALUES = 2**26

#: Starts a pass: the rows in blocks of float32 or float64 (N, T), of any length, in the same order each time.
Blocks = Callable[[], Iterable[NDArray[np.floating]]]
#: Takes the factors' values (K, T) on the rows from the given number on.
Receive = Callable[[int, Floats], None]


@dataclass(frozen=True, slots=True)
class FactorSettings:
    """How factors are found."""

    n_factors: int = 16
    seed: int = 0
    """Of the sample and the start."""
    passes: int = 5
    """Passes that improve the weights, at most."""
    batch_rows: int = 1024
    """Rows of one product of matrices; decides memory, and the last bits of results."""
    tolerance: float = 1e-4
    """The passes end once one takes off less than this share of the first error."""

    def __post_init__(self) -> None:
        for name, least in (("n_factors", 1), ("seed", 0), ("passes", 0), ("batch_rows", 1), ("tolerance", 0)):
            if not getattr(self, name) >= least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class NonnegativeFactors:
    """Factors of a layer, by descending share as of the last time that the weights changed. Undefined is NaN."""

    weights: Floats
    """H (K, N): rows of length √(Σ h²) = 1, so that values have the activations' scale; zeros for a factor of nothing,
    which comes where the activations have fewer directions than K."""
    share: Floats
    """(K,): ⟨X, w_k h_k⟩ / ‖X‖². They add up to ``explained``; NaN where no x is positive."""
    neuron_share: Floats
    """(K, N): the same of one neuron's column of X; NaN where the neuron is never positive."""
    relative_error: float
    """‖X − W H‖ / ‖X‖ (Frobenius); NaN where no x is positive."""
    variance_explained: float
    """1 − ‖X − W H‖² / ‖X − mean‖²: may be negative; NaN where X is constant."""
    errors: tuple[float, ...]
    """The relative error that each pass began with, and the last one."""
    n_passes: int
    is_converged: bool
    """Whether the last pass gained less than the tolerance."""
    part: PartSizes
    """Rows, and what was cut off."""

    @property
    def explained(self) -> float:
        """1 − relative_error², the share of ‖X‖² that is fitted."""
        return 1.0 - self.relative_error**2


def nonnegative_factors(
    blocks: Blocks,
    n_neurons: int,
    n_rows: int,
    settings: FactorSettings,
    receive: Receive = lambda *_: None,
    threads: int = 1,
) -> NonnegativeFactors:
    """The factors of the T = ``n_rows`` rows of ``blocks`` over N = ``n_neurons`` neurons.

    Reads the rows 2 + ``passes`` times at most. How rows are cut into blocks and the number of threads never change a
    bit of the result. The last pass hands every row's factor values to ``receive``, in order.

    Raises :class:`~schemas.errors.ActivationError` when a value is NaN or infinite, and :class:`UsageError` for more
    factors than neurons or if the blocks have other than ``n_rows`` rows.
    """
    if settings.n_factors > n_neurons:
        raise UsageError(f"n_factors must be at most the {n_neurons} neurons, got {settings.n_factors}")
    with on_one_thread():  # products of matrices whose bits do not depend on the machine's cores
        part, sample = _first_pass(blocks, n_neurons, n_rows, settings)
        weights = start_factors(sample, settings.n_factors, settings.seed)
        del sample
        size = float(np.sqrt(part.sum_squares))
        errors: list[float] = []
        is_converged = False
        for _ in range(settings.passes):
            state = _fold(blocks, weights, settings.batch_rows, threads)
            errors.append(float(np.sqrt(state.squared_error())))
            is_converged = len(errors) > 1 and errors[-2] - errors[-1] <= settings.tolerance * errors[0]
            weights = _by_share(state, weights if is_converged else state.finalize())
            if is_converged:
                break
        state = _fold(blocks, weights, settings.batch_rows, threads, receive)
    errors.append(float(np.sqrt(state.squared_error())))
    return _result(state, part, [_ratio(error, size) for error in errors], is_converged)


def _first_pass(
    blocks: Blocks, n_neurons: int, n_rows: int, settings: FactorSettings
) -> tuple[PartSizes, NDArray[np.floating]]:
    """Sizes of the parts, and the sample (N, T)."""
    part = NonnegativePart.empty(n_neurons)
    n_sample = min(SAMPLE_ROWS, max(SAMPLE_VALUES // n_neurons, 2 * settings.n_factors))
    wanted = sample_rows(n_rows, n_sample, settings.seed)
    kept = [np.empty((n_neurons, 0), np.float32)]
    for values in batches(blocks(), settings.batch_rows):
        first, n = part.n_rows, values.shape[1]
        part.update(values)
        inside = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + n)] - first
        kept.append(values[:, inside])
    if part.n_rows != n_rows:
        raise UsageError(f"n_rows is {n_rows}, and the blocks have {part.n_rows} rows; count them again")
    return part.finalize(), np.concatenate(kept, axis=1)


def batches(blocks: Iterable[NDArray[np.floating]], n_rows: int) -> Iterator[NDArray[np.floating]]:
    """The same rows in batches of ``n_rows``, the last one shorter; (N, T) each."""
    waiting: list[NDArray[np.floating]] = []
    n_waiting = 0
    for block in blocks:
        at = 0
        while at < block.shape[1]:
            piece = block[:, at : at + n_rows - n_waiting]
            waiting.append(piece)
            at += piece.shape[1]
            n_waiting += piece.shape[1]
            if n_waiting == n_rows:
                yield np.concatenate(waiting, axis=1)
                waiting, n_waiting = [], 0
        waiting = [piece.copy() for piece in waiting]  # a view would keep the whole block
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _fold(
    blocks: Blocks, weights: Floats, batch_rows: int, threads: int, receive: Receive = lambda *_: None
) -> FactorPass:
    """The state of a pass, merged batch by batch in their order whatever thread was the first."""
    state, waiting = FactorPass.empty(weights), deque[Future[tuple[FactorPass, Floats]]]()

    def take() -> None:
        of_batch, values = waiting.popleft().result()
        receive(state.n_rows, values)
        state.merge(of_batch)

    with ThreadPoolExecutor(threads, thread_name_prefix="factors") as pool:
        for batch in batches(blocks(), batch_rows):
            waiting.append(pool.submit(_batch, weights, batch))
            if len(waiting) > threads:
                take()
        while waiting:
            take()
    return state


def _batch(weights: Floats, values: NDArray[np.floating]) -> tuple[FactorPass, Floats]:
    state = FactorPass.empty(weights)
    return state, state.update(values)


def _by_share(state: FactorPass, weights: Floats) -> Floats:
    """The weights in the order of what they fit with the state's W, the largest first, as rows of length 1."""
    return unit_rows(weights[np.argsort(-np.sum(state.cross * weights, axis=1), kind="stable")])


def _result(state: FactorPass, part: PartSizes, errors: list[float], is_converged: bool) -> NonnegativeFactors:
    fitted = state.cross * state.weights
    with np.errstate(divide="ignore", invalid="ignore"):
        neuron_share = np.where(part.neuron_sum_squares > 0, fitted / part.neuron_sum_squares, np.nan)
    lost = _ratio(state.squared_error(), part.sum_squared_deviations)
    return NonnegativeFactors(
        weights=state.weights,
        share=np.array([_ratio(float(value), part.sum_squares) for value in fitted.sum(axis=1)]),
        neuron_share=neuron_share,
        relative_error=errors[-1],
        variance_explained=1.0 - lost,
        errors=tuple(errors),
        n_passes=len(errors) - 1,
        is_converged=is_converged,
        part=part,
    )


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")
