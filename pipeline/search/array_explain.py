"""Compositional explanations on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from pipeline.search.array_search import activation_matrix, label_matrix
from pipeline.search.bit_masks import ConceptMasks
from pipeline.search.explanation import Explainer, Explanation, FormulaSettings
from pipeline.stats.threads import over_neurons
from schemas.errors import UsageError


def explain(
    activations: ArrayLike,
    concepts: Any,
    names: Sequence[str] | None = None,
    *,
    alpha: float = 0.005,
    beam: int = 10,
    length: int = 5,
    penalty: float = 0.01,
    heldout: tuple[ArrayLike, Any] | None = None,
    threads: int = 1,
) -> list[Explanation]:
    """The best formula over concepts for each neuron, in order; see :mod:`pipeline.search.explanation`.

    ``activations`` X (T, N) or (T,) finite floats; ``concepts`` Y (T, C) or (T,), boolean or 0 and 1, dense or a scipy
    sparse matrix; ``names`` of the C concepts, by default ``c0``, ``c1``, …. ``heldout``: (X, Y) of other rows to
    measure the IoU on. Raises as :mod:`pipeline.search.array_search` does.

    >>> import numpy as np
    >>> is_noun = np.array([1, 1, 0, 0, 1, 0], bool)
    >>> is_long = np.array([0, 1, 0, 1, 0, 0], bool)
    >>> x = np.where(is_noun & ~is_long, 2.0, 0.0)
    >>> explain(x, np.stack([is_noun, is_long], axis=1), ["noun", "long"], alpha=0.5)[0].formula
    'noun AND NOT long'
    """
    settings = FormulaSettings(alpha, beam, length, penalty)
    matrix, masks = _inputs(activations, concepts)
    n_concepts = len(masks.counts)
    named = tuple(f"c{concept}" for concept in range(n_concepts)) if names is None else tuple(names)
    if len(named) != n_concepts or len(set(named)) != n_concepts:
        raise UsageError(f"names must be {n_concepts} different names, one a concept, not {len(named)}: {named[:10]}")
    others = None if heldout is None else _inputs(*heldout)
    if others is not None and (others[0].shape[1], len(others[1].counts)) != (matrix.shape[1], n_concepts):
        raise UsageError(
            f"heldout must have {matrix.shape[1]} neurons and {n_concepts} concepts, not {others[0].shape[1]} and "
            f"{len(others[1].counts)}"
        )
    explainer = Explainer(masks, named, settings, None if others is None else others[1])
    found: list[Explanation | None] = [None] * matrix.shape[1]

    def work(first: int, last: int) -> None:
        for neuron in range(first, last):
            other = None if others is None else others[0][:, neuron]
            found[neuron] = explainer.explain(neuron, matrix[:, neuron], other)

    over_neurons(work, len(found), threads)
    return [explanation for explanation in found if explanation is not None]


def _inputs(activations: ArrayLike, concepts: Any) -> tuple[Any, ConceptMasks]:
    matrix, labels = activation_matrix(activations), label_matrix(concepts)
    if labels.n_rows != len(matrix):
        raise UsageError(f"concepts must have the {len(matrix)} rows of the activations, not {labels.n_rows}")
    return matrix, ConceptMasks.of(labels)
