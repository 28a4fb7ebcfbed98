"""How many neurons can go when one of each cluster stays, and how far clusters reach across layers.

Dalvi et al. 2020, "Analyzing redundancy in pretrained transformer models", EMNLP. A neuron's layer is (component,
layer), such as ("mlp", 3): numbers of the same component are adjacent where they differ by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from pipeline.correlate.clusters import Clustering
from schemas.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LayerIndex:
    """The L layers of N neurons."""

    components: tuple[str, ...]
    """(C,): in the order of their first neurons."""
    layers: tuple[tuple[str, int], ...]
    """(L,): component and number, components in their order, numbers ascending."""
    layer_of: Ints
    """(N,): the place of each neuron's layer among ``layers``."""

    @classmethod
    def of(cls, components: Sequence[str], layers: ArrayLike) -> LayerIndex:
        """From the component and the layer number of each neuron, (N,) both; :class:`UsageError` otherwise."""
        numbers = np.asarray(layers)
        if numbers.shape != (len(components),) or (numbers.size and numbers.dtype.kind not in "iu"):
            raise UsageError(
                f"layers must be one whole number for each of the {len(components)} components of neurons; got "
                f"{numbers.dtype} of shape {numbers.shape}"
            )
        names = tuple(dict.fromkeys(components))
        rank = {name: k for k, name in enumerate(names)}
        pairs = [(rank[name], int(number)) for name, number in zip(components, numbers, strict=True)]
        distinct = sorted(set(pairs))
        place = {pair: k for k, pair in enumerate(distinct)}
        return cls(
            names,
            tuple((names[c], number) for c, number in distinct),
            np.array([place[pair] for pair in pairs], np.int64),
        )

    @property
    def numbers(self) -> Ints:
        """(L,): layer numbers."""
        return np.array([number for _, number in self.layers], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class RedundancyCurve:
    """Neurons of all, and of each of L layers, that can go when one of each cluster stays, at K thresholds.

    A constant neuron is alone and stays.
    """

    thresholds: Floats
    """(K,)."""
    n_neurons: Ints
    """(L,): neurons of each layer."""
    n_clusters: Ints
    """(K,): clusters of all neurons together."""
    share: Floats
    """(K,): 1 − clusters / neurons, all neurons clustered together ("across layers"); NaN without neurons."""
    n_clusters_per_layer: Ints
    """(K, L): clusters of each layer by itself."""
    share_per_layer: Floats
    """(K, L): 1 − clusters / neurons of each layer by itself."""
    share_within_layers: Floats
    """(K,): 1 − Σ clusters / neurons, each layer clustered by itself; never more than there is to gain across."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerSpread:
    """How far the clusters of two and more neurons reach; rows are all of them, then those inside each component."""

    components: tuple[str | None, ...]
    """(1 + C,): None for all clusters, whatever their components."""
    windows: Ints
    """(W,): 1, 2, … up to the number of layers from the lowest to the highest."""
    n_clusters: Ints
    """(1 + C,): clusters with two or more members, all of the component."""
    n_within: Ints
    """(1 + C, W): those whose members lie within a window of w adjacent layers: highest − lowest number < w."""
    n_shared: Ints
    """(L, L): clusters (two or more members) with members in both layers; the diagonal: with a member in the layer."""


def redundancy_curve(across: Clustering, within: Clustering, index: LayerIndex) -> RedundancyCurve:
    """The curve of the clusters of all neurons (``across``) and of those of each layer by itself (``within``).

    ``across, within = cluster_tiles(tiles, N, thresholds, scopes=[None, index.layer_of])`` makes both in one go.

    Raises :class:`UsageError` when the two do not have the same thresholds, when a cluster of ``within`` has neurons of
    two layers, or when the number of neurons is not that of ``index``.
    """
    n_neurons = np.bincount(index.layer_of, minlength=len(index.layers)).astype(np.int64)
    thresholds = np.array([clusters.threshold for clusters in across.clusters])
    if [clusters.threshold for clusters in within.clusters] != thresholds.tolist():
        raise UsageError("across and within must be clusterings at the same thresholds; give both the same list")
    n_across = np.array([len(clusters.size) for clusters in across.clusters], np.int64)
    per_layer = np.zeros((len(thresholds), len(n_neurons)), np.int64)
    for k, clusters in enumerate(within.clusters):
        layer_of = _neuron_layers(clusters.labels, index)
        if (layer_of != layer_of[clusters.representative][clusters.labels]).any():
            raise UsageError("within must be clustered by layer (scopes=[index.layer_of]); a cluster has two layers")
        per_layer[k] = np.bincount(layer_of[clusters.representative], minlength=len(n_neurons))
    total = int(n_neurons.sum())
    return RedundancyCurve(
        thresholds,
        n_neurons,
        n_across,
        _saved(n_across, total),
        per_layer,
        _saved(per_layer, n_neurons),
        _saved(per_layer.sum(axis=1), total),
    )


def _saved(n_clusters: Ints, n_neurons: Ints | int) -> Floats:
    return np.where(np.asarray(n_neurons) > 0, 1 - n_clusters / np.maximum(n_neurons, 1), np.nan)


def layer_spread(labels: Ints, index: LayerIndex) -> LayerSpread:
    """How the clusters ``labels`` (N,), 0 to G − 1, lie in the layers; :class:`UsageError` for another N."""
    layer_of = _neuron_layers(labels, index)
    n_clusters, n_layers = int(labels.max(initial=-1)) + 1, len(index.layers)
    is_in = scipy.sparse.coo_array(
        (np.ones(len(labels), np.int64), (layer_of, labels)), (n_layers, n_clusters)
    ).tocsr()  # fmt: skip
    is_in.sum_duplicates()
    is_in.data[:] = 1
    many = np.bincount(labels, minlength=n_clusters) > 1
    is_in = is_in[:, np.flatnonzero(many)]
    numbers = index.numbers[layer_of]
    low, high = np.full(n_clusters, np.iinfo(np.int64).max), np.full(n_clusters, np.iinfo(np.int64).min)
    np.minimum.at(low, labels, numbers)
    np.maximum.at(high, labels, numbers)
    span = (high - low + 1)[many]
    widest = int(np.ptp(index.numbers)) + 1 if n_layers else 0
    windows = np.arange(1, widest + 1)
    component = np.array([index.components.index(name) for name, _ in index.layers], np.int64)[layer_of]
    first, last = np.full(n_clusters, len(index.components)), np.full(n_clusters, -1)
    np.minimum.at(first, labels, component)
    np.maximum.at(last, labels, component)
    home = np.where(first == last, first, -1)[many]
    rows = [np.ones(len(home), bool), *(home == c for c in range(len(index.components)))]
    return LayerSpread(
        (None, *index.components),
        windows,
        np.array([row.sum() for row in rows], np.int64),
        np.array([[(row & (span <= w)).sum() for w in windows] for row in rows], np.int64).reshape(len(rows), -1),
        (is_in @ is_in.T).toarray(),
    )


def _neuron_layers(labels: Ints, index: LayerIndex) -> Ints:
    if len(labels) != len(index.layer_of):
        raise UsageError(f"labels must be of the {len(index.layer_of)} neurons of the layers, not of {len(labels)}")
    return index.layer_of
