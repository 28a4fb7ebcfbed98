"""Mean and spread of every neuron's activation per word type, and the shrunken mean that ranks words.

The activation of a word in the text (an occurrence) is the mean over its rows, so a word of several tokens counts once.
Letters: T rows, N neurons, W word types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_mergeable, check_rows, check_values, refuse_non_finite
from schemas.errors import UsageError

#: Largest ratio of variances: words explain next to nothing, and more would only rank by frequency.
MAX_RATIO = 1000.0


@dataclass(frozen=True, eq=False)
class WordRows:
    """Rows of a batch grouped by occurrence, occurrences grouped by word type."""

    n_rows: int
    rows: NDArray[np.int64]
    """The rows that belong to a word, ordered by type, then occurrence, then row."""
    occurrence_edges: NDArray[np.int64]
    """Rows of occurrence o are ``rows[occurrence_edges[o]:occurrence_edges[o + 1]]``."""
    type_edges: NDArray[np.int64]
    """Occurrences of group g are ``type_edges[g]`` … ``type_edges[g + 1] − 1``."""
    types: NDArray[np.int64]
    """Word type of each group, ascending; −1 stands for all other words."""

    @classmethod
    def of(cls, row_words: NDArray[np.int64], word_types: NDArray[np.int64]) -> WordRows:
        """Group rows: ``row_words`` (T,) is each row's occurrence (−1: none), ``word_types`` the type of each of these.

        A type of −1 is a word that is not told from other words: it counts in the neuron's mean only.
        """
        with_word = np.flatnonzero(row_words >= 0)
        word = row_words[with_word]
        if len(word) and word.max() >= len(word_types):
            raise UsageError(f"row_words must be below the {len(word_types)} entries of word_types, got {word.max()}")
        order = np.lexsort((with_word, word, word_types[word]))
        rows, word = with_word[order], word[order]
        starts = _starts(word)
        types = word_types[word[starts]]
        type_starts = _starts(types)
        return cls(
            len(row_words), rows, np.append(starts, len(rows)), np.append(type_starts, len(starts)), types[type_starts]
        )


def _starts(sorted_keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.diff(sorted_keys, prepend=sorted_keys[:1] - 1))


class WordMeans(NamedTuple):
    """What is known of W word types; NaN where undefined."""

    n_words: NDArray[np.int64]
    """(W,): occurrences."""
    mean: NDArray[np.float64]
    """(N, W): mean activation over the occurrences; NaN for none."""
    standard_error: NDArray[np.float64]
    """(N, W): of that mean, √(sample variance / n); NaN for fewer than two occurrences."""
    neuron_mean: NDArray[np.float64]
    """(N,): mean over all occurrences, of other words too."""
    variance_ratio: NDArray[np.float64]
    """(N,): variance within word types over that between them, :meth:`WordMoments.variance_ratio`."""


@dataclass(slots=True, eq=False)
class WordMoments:
    """n, mean and M2 (sum of squared deviations) of N neurons per word type; merges are those of Chan et al. 1983.

    Equal for any order of batches and merges up to float64 rounding, provided that no word is cut between batches.
    Memory is 16 bytes · N · (W + 1).
    """

    n_words: NDArray[np.int64]
    """(W + 1,): occurrences of each type, of all other words last."""
    mean: NDArray[np.float64]
    """(N, W + 1)."""
    m2: NDArray[np.float64]
    """(N, W + 1)."""

    @classmethod
    def empty(cls, n_neurons: int, n_types: int) -> WordMoments:
        """The state of no words."""
        shape = (n_neurons, n_types + 1)
        return cls(np.zeros(n_types + 1, np.int64), np.zeros(shape), np.zeros(shape))

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.mean)

    @property
    def n_types(self) -> int:
        """W."""
        return len(self.n_words) - 1

    def update(self, values: NDArray[np.floating], words: WordRows, threads: int = 1) -> WordMoments:
        """Add a batch: ``values`` float32 or float64 (N, T) and the words of its T rows.

        Raises :class:`ActivationError` when a value of a word's row is NaN or infinite, :class:`UsageError` on a wrong
        shape or an unknown type; the state is then unchanged.
        """
        values = check_values(values, self.n_neurons)
        check_rows(values.shape[1], words.n_rows, "words")
        if len(words.types) and not -1 <= words.types.min() <= words.types.max() < self.n_types:
            raise UsageError(f"word types must lie in −1 … {self.n_types - 1}, got {words.types.max()}")
        shape, sums = (self.n_neurons, len(words.types)), np.zeros(self.n_neurons)
        mean, m2 = np.empty(shape), np.empty(shape)
        edges, type_edges = words.occurrence_edges, words.type_edges

        def work(first: int, last: int) -> None:
            _group_moments(first, last, values, words.rows, edges, type_edges, mean, m2)
            sums[first:last] = mean[first:last].sum(axis=1)

        over_neurons(work, self.n_neurons, threads)
        refuse_non_finite(sums, values)
        columns = np.where(words.types < 0, self.n_types, words.types)
        self._add(columns, np.diff(type_edges), mean, m2, threads)
        return self

    def merge(self, other: WordMoments) -> WordMoments:
        """Add the words of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.mean.shape, other.mean.shape)
        self._add(np.arange(len(other.n_words)), other.n_words, other.mean, other.m2, 1)
        return self

    def _add(
        self,
        columns: NDArray[np.int64],
        n_words: NDArray[np.int64],
        mean: NDArray[np.float64],
        m2: NDArray[np.float64],
        threads: int,
    ) -> None:
        over_neurons(
            lambda first, last: _merge(
                first, last, columns, self.n_words, self.mean, self.m2, n_words.astype(np.int64), mean, m2
            ),
            self.n_neurons,
            threads,
        )
        self.n_words[columns] += n_words

    def finalize(self) -> WordMeans:
        """Means and standard errors of the W types."""
        n = self.n_words[:-1].astype(np.float64)
        total = self.n_words.sum()
        share = self.n_words / total if total else np.full(len(self.n_words), np.nan)
        several = np.where(n > 1, n * (n - 1), np.nan)
        return WordMeans(
            self.n_words[:-1].copy(),
            self.mean[:, :-1] + np.where(n > 0, 0, np.nan),
            np.sqrt(self.m2[:, :-1] / several),
            # sums by row: a matrix product's last bits depend on how many neurons a task has
            np.array([np.sum(row * share) for row in self.mean], np.float64),
            self.variance_ratio(),
        )

    def variance_ratio(self) -> NDArray[np.float64]:
        """Variance of occurrences within their word type over the variance of the types' true means, (N,).

        The estimates of a one-way analysis of variance with random effects: within, Σ M2 / (n − W); between,
        (Σ n_w (mean_w − mean)² − (W − 1) · within) / (n − Σ n_w² / n), over the types that occur. Between 0 and
        :data:`MAX_RATIO`, which also stands for what cannot be estimated: no type twice, one type, a constant neuron.
        """
        types = np.flatnonzero(self.n_words[:-1])
        n_w = self.n_words[types].astype(np.float64)
        n, n_types = n_w.sum(), len(types)
        ratio = np.full(self.n_neurons, MAX_RATIO)
        if n_types < 2 or n <= n_types:
            return ratio
        for neuron in range(self.n_neurons):  # one at a time: a matrix of all would double the memory
            mean = self.mean[neuron, types]
            within = self.m2[neuron, types].sum() / (n - n_types)
            squares = np.sum(n_w * (mean - np.sum(n_w * mean) / n) ** 2)
            between = (squares - (n_types - 1) * within) / (n - np.sum(n_w**2) / n)
            if between * MAX_RATIO > within:
                ratio[neuron] = within / between
        return ratio

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {"n_words": self.n_words, "mean": self.mean, "m2": self.m2}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> WordMoments:
        """The state that :meth:`arrays` wrote."""
        n_words = np.array(arrays["n_words"], np.int64)
        return cls(n_words, np.array(arrays["mean"], np.float64), np.array(arrays["m2"], np.float64))


def shrunken_means(means: WordMeans, shrinkage: float | None = None) -> NDArray[np.float64]:
    """Scores (N, W) of words: (mean − neuron mean) · n / (n + k); NaN for no occurrence.

    k is ``shrinkage`` ≥ 0, or with None each neuron's variance ratio, which makes the score the best linear predictor
    of a word's effect (the posterior mean, for normal effects): the fewer the occurrences and the less words explain,
    the nearer to 0. Without it the words with the fewest occurrences lead, only because their means vary most.
    """
    if shrinkage is not None and not shrinkage >= 0:
        raise UsageError(f"shrinkage must be at least 0, got {shrinkage}")
    n = means.n_words.astype(np.float64)
    scores = means.mean - means.neuron_mean[:, None]
    for neuron in range(len(scores)):
        k = means.variance_ratio[neuron] if shrinkage is None else shrinkage
        scores[neuron] *= np.where(n > 0, n / np.maximum(n + k, 1), np.nan)
    return scores


@kernel
def _group_moments(
    first: int,
    last: int,
    values: NDArray[np.floating],
    rows: NDArray[np.int64],
    edges: NDArray[np.int64],
    type_edges: NDArray[np.int64],
    mean: NDArray[np.float64],
    m2: NDArray[np.float64],
) -> None:
    """Mean and M2 of the occurrences of each group; an occurrence is the mean of its rows."""
    occurrences = np.empty(len(edges) - 1)
    for neuron in range(first, last):
        column = values[neuron]
        for occurrence in range(len(occurrences)):
            start, stop = edges[occurrence], edges[occurrence + 1]
            total = 0.0
            for entry in range(start, stop):
                total += column[rows[entry]]
            occurrences[occurrence] = total / (stop - start)
        for group in range(len(type_edges) - 1):
            start, stop = type_edges[group], type_edges[group + 1]
            total = 0.0
            for occurrence in range(start, stop):
                total += occurrences[occurrence]
            centre = total / (stop - start)
            squares = 0.0
            for occurrence in range(start, stop):
                d = occurrences[occurrence] - centre
                squares += d * d
            mean[neuron, group] = centre
            m2[neuron, group] = squares


@kernel
def _merge(
    first: int,
    last: int,
    columns: NDArray[np.int64],
    n_a: NDArray[np.int64],
    mean_a: NDArray[np.float64],
    m2_a: NDArray[np.float64],
    n_b: NDArray[np.int64],
    mean_b: NDArray[np.float64],
    m2_b: NDArray[np.float64],
) -> None:
    """Fold group g of b into column ``columns[g]`` of a, in place; the counts of a are left to the caller."""
    for neuron in range(first, last):
        for group in range(len(columns)):
            if n_b[group] == 0:
                continue
            at = columns[group]
            delta = mean_b[neuron, group] - mean_a[neuron, at]
            share = n_b[group] / (n_a[at] + n_b[group])
            mean_a[neuron, at] += delta * share
            m2_a[neuron, at] += m2_b[neuron, group] + delta * delta * (n_a[at] * share)
