"""A map of neurons: two coordinates and a cluster for each, by whom it correlates with.

After Meyes et al. 2020, "Under the Hood of Neural Networks: Characterizing Learned Representations by Functional Neuron
Populations and Network Ablations", who embed neurons with UMAP and cluster them with k-means.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.correlate.profile_components import profile_components
from schemas.errors import UsageError

#: Neurons that a map needs at least.
MIN_NEURONS = 5
#: Starts of k-means, of which the best is taken.
N_INIT = 10
#: Size of the random part of where UMAP begins, beside coordinates of up to 10: equal neurons come apart by it.
_JITTER = 1e-3

Method = Literal["kmeans", "hdbscan"]
Space = Literal["embedding", "profile"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NeuronMap:
    """Where N neurons lie, and in which clusters."""

    coordinates: Floats
    """(N, 2); NaN for constant neurons."""
    cluster: NDArray[np.int64]
    """(N,): from 0, the largest cluster first (equal sizes: by the smallest neuron); −1 for constant neurons, and for
    those that HDBSCAN puts into none."""
    n_neighbors: int
    """Neighbours that UMAP looked at: what was asked for, or all other neurons where these are fewer."""
    n_components: int
    """Dimensions of the reduced profiles."""

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return int(self.cluster.max(initial=-1)) + 1


def neuron_map(
    profiles: NDArray[np.floating],
    k: int | None = None,
    *,
    method: Method = "kmeans",
    space: Space = "embedding",
    seed: int = 0,
    signed: bool = False,
    n_neighbors: int = 15,
    min_cluster_size: int = 5,
) -> NeuronMap:
    """The map of the neurons whose correlation profiles are the rows of ``profiles`` (N, M).

    ``profiles`` are correlations, float32 or float64, such as the matrix (N, N) of all pairs, or a memory map of it;
    the profile is |r|, or r if ``signed``. A row of NaN is a constant neuron: no coordinates, no cluster. Profiles are
    reduced to 50 principal components or fewer (:func:`~pipeline.correlate.profile_components.profile_components`) and
    embedded by UMAP (McInnes, Healy and Melville 2018), which starts from the first two components. Clusters are found
    in the ``space`` of the embedding or of the reduced profiles: ``k`` by k-means (the best of 10 starts), or as many
    as HDBSCAN finds with at least ``min_cluster_size`` neurons each.

    The same seed gives the same map on the same machine and versions. Raises :class:`UsageError` for fewer than 5
    neurons that are not constant, for k-means without ``k``, for HDBSCAN with it, for more clusters than different
    neurons, and where umap-learn is not installed.
    """
    _check(k, method, space, seed, n_neighbors, min_cluster_size)
    umap = _umap()
    with threadpool_limits(1):  # sums in one order
        reduced = profile_components(profiles, seed=seed, signed=signed)
        n = len(reduced.neurons)
        if n < MIN_NEURONS:
            raise UsageError(f"a map needs at least {MIN_NEURONS} neurons that are not constant, got {n}")
        neighbors = min(n_neighbors, n - 1)
        points = _embedded(umap, reduced.values, neighbors, seed)
        found = cluster_points(
            points if space == "embedding" else reduced.values, k, method, seed=seed, min_cluster_size=min_cluster_size
        )
    coordinates, cluster = np.full((len(profiles), 2), np.nan), np.full(len(profiles), -1, np.int64)
    coordinates[reduced.neurons], cluster[reduced.neurons] = points, found
    return NeuronMap(coordinates, cluster, neighbors, reduced.values.shape[1])


def _check(k: int | None, method: str, space: str, seed: int, n_neighbors: int, min_cluster_size: int) -> None:
    if method not in ("kmeans", "hdbscan"):
        raise UsageError(f"method must be `kmeans` or `hdbscan`, got {method!r}")
    if space not in ("embedding", "profile"):
        raise UsageError(f"space must be `embedding` or `profile`, got {space!r}")
    if (k is None) == (method == "kmeans"):
        raise UsageError("k is the number of clusters of k-means: give it there, and not for hdbscan")
    neighbors, size = ("n_neighbors", n_neighbors, 2), ("min_cluster_size", min_cluster_size, 2)
    for name, value, least in (("k", k, 1), ("seed", seed, 0), neighbors, size):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")


def cluster_points(
    points: Floats, k: int | None, method: Method = "kmeans", *, seed: int = 0, min_cluster_size: int = 5
) -> NDArray[np.int64]:
    """The cluster of every row of ``points`` (n, d), numbered as :class:`NeuronMap` says; −1 for none."""
    from sklearn.cluster import HDBSCAN, KMeans  # noqa: PLC0415 - takes a second, and few commands need it

    if method == "hdbscan":
        size = min(min_cluster_size, len(points))
        return _numbered(HDBSCAN(min_cluster_size=size, copy=True).fit_predict(points))
    n_different = len(np.unique(points, axis=0))
    if k is None or k > n_different:
        raise UsageError(f"k must be at most the {n_different} different neurons, got {k}")
    return _numbered(KMeans(k, n_init=N_INIT, random_state=seed).fit_predict(points))


def _numbered(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Clusters by descending size, then by their first member."""
    names, first, sizes = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    place = np.flatnonzero(labels >= 0)[first] if len(names) else first
    numbers: NDArray[np.int64] = np.full(int(labels.max(initial=-1)) + 2, -1, np.int64)  # the last place is for −1
    numbers[names[np.lexsort((place, -sizes))]] = np.arange(len(names))
    return np.asarray(numbers[labels], np.int64)


def _umap() -> Any:
    """The package umap-learn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # of a part of it that needs TensorFlow
            import umap  # noqa: PLC0415 - takes seconds, and is an extra
    except ModuleNotFoundError as error:
        raise UsageError(
            f'a map of neurons needs umap-learn ({error}); install it: pip install "neuronmill[map]"'
        ) from error
    return umap


def _embedded(umap: Any, points: Floats, n_neighbors: int, seed: int) -> Floats:
    """UMAP of ``points`` (n, d), (n, 2), in one thread, from the first two principal components."""
    start = np.random.default_rng(seed).normal(scale=_JITTER, size=(len(points), 2))
    width = min(2, points.shape[1])
    if width:
        start[:, :width] += 10 * points[:, :width] / np.abs(points[:, :width]).max()
    space = points if points.shape[1] else np.zeros((len(points), 1))
    model = umap.UMAP(n_neighbors=n_neighbors, init=start.astype(np.float32), random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(space.astype(np.float32)), np.float64)
