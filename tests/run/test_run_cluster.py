"""Clusters of a store end to end: they equal scipy's on numpy's correlations, however they were folded."""

from __future__ import annotations

import shutil
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from damage import cut, flip
from import_case import run_import, write_tsv
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from tiny_run import Finished, tables

from pipeline.correlate import LayerIndex, layer_redundancy, principal_spectrum
from pipeline.run import cluster_tables, moment_tiles, neuron_clusters
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.moment_tiles import TileTask, TileWorker
from pipeline.run.neuron_clusters import CLUSTER_TABLES, EDGE_TABLES, PARTITION_TABLES, cluster
from pipeline.run.neuron_search import search
from pipeline.run.overview import overview
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, save_settings
from pipeline.run.progress import Silent
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.repair import repair
from pipeline.run.reregister import reregister
from pipeline.run.work import Executor
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.analysis_config import ClusterConfig
from schemas.errors import ConfigError, IncompleteError, UsageError

N_ROWS, WIDTH = 400, 24
LAYERS = (("mlp", 3), ("mlp", 5), ("resid", 3))
THRESHOLDS = (0.05, 0.3, 0.7, 1.0)
#: Neurons of every layer.
CONSTANT, DUPLICATE, NEGATED, FAR = 1, 2, 3, 4


def layer_values(rng: np.random.Generator, factors: np.ndarray) -> np.ndarray:
    """Float32 values (T, 24) of a few common factors, with a constant, a copy, a negation, and means of 300 sd."""
    loadings = rng.normal(size=(factors.shape[1], WIDTH)) * (rng.random((factors.shape[1], WIDTH)) < 0.4)
    values = factors @ loadings + rng.uniform(0.2, 1.5, WIDTH) * rng.normal(size=(N_ROWS, WIDTH))
    values[:, CONSTANT] = 0.1
    values[:, DUPLICATE] = values[:, 0]
    values[:, NEGATED] = -values[:, 0]
    values[:, FAR] = values[:, FAR] / values[:, FAR].std() + 300
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A searched store of three imported layers, read-only; the test rows count too."""
    folder = tmp_path_factory.mktemp("cluster")
    rng = np.random.default_rng(8)
    factors = rng.normal(size=(N_ROWS, 6))
    table = {
        "sentence": [f"s{row // 8}" for row in range(N_ROWS)],
        "word": [f"w{row % 50}" for row in range(N_ROWS)],
        **{f"f{k}": ["1" if hit else "0" for hit in factors[:, k] > 1] for k in range(3)},
    }
    labels = write_tsv(folder / "L.tsv", table)
    for component, layer in LAYERS:
        np.save(folder / "X.npy", layer_values(rng, factors))
        options = {"component": component, "layers": (layer,), "rows_per_shard": 150}
        run_import(folder / "store", folder / "X.npy", labels=labels, **options)
    store = Store.open(str(folder / "store"))
    search(load_plan(store), store, LocalExecutor(), Silent())
    return store


@pytest.fixture
def store(imported: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy, whose 72 neurons are cut in five blocks."""
    monkeypatch.setattr(moment_tiles, "MAX_BLOCK", 16)
    return Store.open(str(shutil.copytree(imported.url, tmp_path / "store")))


def planned(store: Store, **settings: Any) -> Plan:
    plan = load_plan(store)
    section = ClusterConfig.model_validate({"thresholds": THRESHOLDS, **settings})
    return plan.with_config(plan.config.model_copy(update={"cluster": section}))


def run(store: Store, executor: Executor | None = None, **settings: Any) -> int:
    return cluster(planned(store, **settings), store, executor or LocalExecutor(), Silent())


def frame(store: Store, query: str) -> pd.DataFrame:
    with tables(store) as read:
        return read.connection.execute(query).df()


def correlations(store: Store) -> tuple[pd.DataFrame, np.ndarray]:
    """Neurons in the order of their layers, and numpy's r (N, N) of the counted rows."""
    values = []
    with tables(store) as read:
        counted = [row for (row,) in read.rows("SELECT row_id FROM rows WHERE is_counted")]
        for component, layer in LAYERS:
            rows, found = read.activations(component, layer, "mine")
            values.append(found[np.isin(rows, counted)])
    neurons = pd.DataFrame([(c, n, i) for c, n in LAYERS for i in range(WIDTH)], columns=["component", "layer", "n"])
    centred = np.hstack(values) - np.hstack(values).mean(axis=0)  # or numpy loses digits of a mean of 300
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(centred.T)
    constant = np.hstack(values).std(axis=0) < 1e-6
    r[constant], r[:, constant] = np.nan, np.nan
    return neurons, r


def partition(r: np.ndarray, method: str, threshold: float, signed: bool) -> np.ndarray:
    """scipy's flat clusters of the neurons that vary, numbered by first neuron; the others are alone."""
    known = np.flatnonzero(~np.isnan(r.diagonal()))
    similar = r if signed else np.abs(r)
    distances = np.clip(1 - similar[np.ix_(known, known)], 0, None)
    np.fill_diagonal(distances, 0)
    distances[distances < 1e-6] = 0
    labels = np.arange(len(r)) + len(r) + 1
    labels[known] = fcluster(linkage(squareform(distances, checks=False), method), threshold, "distance")
    return numbered(labels)


def numbered(labels: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def clusters_at(store: Store, threshold: float) -> pd.DataFrame:
    found = frame(store, f"FROM clusters WHERE threshold = {threshold}")
    order = {layer: number for number, layer in enumerate(LAYERS)}
    found["place"] = [order[key] for key in zip(found["component"], found["layer"], strict=True)]
    return found.sort_values(["place", "neuron"], ignore_index=True)


@pytest.mark.parametrize(
    ("method", "signed", "precision"),
    [("average", False, "float32"), ("average", True, "float64"), ("complete", False, "float64"),
     ("single", True, "float32"), ("single", False, "float64")],
)  # fmt: skip
def test_clusters_are_those_of_scipy(store: Store, method: str, signed: bool, precision: str) -> None:
    assert run(store, linkage=method, signed=signed, precision=precision) == 3 * WIDTH
    _, r = correlations(store)
    n_clusters = set()
    for threshold in THRESHOLDS:
        found = clusters_at(store, threshold)
        expected = partition(r, method, threshold, signed)
        np.testing.assert_array_equal(found["cluster"], expected)
        assert (found["linkage"].unique().tolist(), found["signed"].unique().tolist()) == ([method], [signed])
        n_clusters.add(expected.max() + 1)
    assert len(n_clusters) == len(THRESHOLDS)
    assert max(n_clusters) <= 3 * WIDTH - 3, "copies are together at any threshold"


@pytest.mark.parametrize("signed", [False, True])
def test_members_and_representatives_are_told_by_their_correlations(store: Store, signed: bool) -> None:
    run(store, signed=signed, precision="float64")
    _, r = correlations(store)
    similar = r if signed else np.abs(r)
    found = clusters_at(store, 0.3)
    for _, group in found.groupby("cluster"):
        own = group.index.to_numpy()
        assert (group["size"] == len(own)).all()
        assert (group["n_layers"] == len(group[["component", "layer"]].drop_duplicates())).all()
        if len(own) == 1:
            assert group[["mean_r", "member_mean_r"]].isna().all(axis=None)
            assert group["is_representative"].all()
            continue
        inside = similar[np.ix_(own, own)]
        means = (inside.sum(axis=1) - inside.diagonal()) / (len(own) - 1)
        np.testing.assert_allclose(group["member_mean_r"], means, atol=1e-9)
        np.testing.assert_allclose(group["mean_r"], means.mean(), atol=1e-9)
        (best,) = group.index[group["is_representative"]]
        assert means[own == best] >= means.max() - 1e-9
    assert found["size"].max() > 2


def test_constants_copies_and_negations(store: Store) -> None:
    run(store, signed=False)
    for threshold in THRESHOLDS:
        found = clusters_at(store, threshold)
        constant = found[found["neuron"] == CONSTANT]
        assert constant["size"].tolist() == [1, 1, 1]
        assert constant[["mean_r", "member_mean_r"]].isna().all(axis=None)
        for _, layer in found.groupby("place"):
            assert len(set(layer["cluster"].iloc[[0, DUPLICATE, NEGATED]])) == 1
    run(store, signed=True)
    found = clusters_at(store, 0.3)
    for _, layer in found.groupby("place"):
        assert layer["cluster"].iloc[0] == layer["cluster"].iloc[DUPLICATE] != layer["cluster"].iloc[NEGATED]
    exact = frame(store, "FROM correlation_edges WHERE component = other_component AND layer = other_layer")
    for layer in LAYERS:
        of = exact[(exact["component"] == layer[0]) & (exact["layer"] == layer[1])]
        pairs = {(a, b): r for a, b, r in zip(of["neuron"], of["other_neuron"], of["r"], strict=True)}
        assert (pairs[0, DUPLICATE], pairs[0, NEGATED], pairs[DUPLICATE, NEGATED]) == (1, -1, -1)


def test_redundancy_is_that_of_layers_and_of_all(store: Store) -> None:
    run(store, precision="float64")
    neurons, r = correlations(store)
    found = frame(store, "FROM redundancy")
    assert len(found) == len(THRESHOLDS) * (2 + len(LAYERS))
    for threshold in THRESHOLDS:
        own = found[found["threshold"] == threshold].set_index("scope")
        n_all = partition(r, "average", threshold, False).max() + 1
        each = {}
        for (component, layer), group in neurons.groupby(["component", "layer"]):
            inside = r[np.ix_(group.index, group.index)]
            each[component, layer] = partition(inside, "average", threshold, False).max() + 1
        layers = own.loc["layer"].set_index(["component", "layer"])["n_clusters"].to_dict()
        assert layers == each
        assert own.loc["all", "n_clusters"] == n_all
        assert own.loc["layers", "n_clusters"] == sum(each.values())
        np.testing.assert_allclose(own["share"], 1 - own["n_clusters"] / own["n_neurons"])
        assert own["n_neurons"].tolist() == [72, 72, 24, 24, 24]
    assert found.loc[found["scope"] != "layer", ["component", "layer"]].isna().all(axis=None)
    of_array = layer_redundancy(None, LayerIndex.of(neurons["component"].tolist(), neurons["layer"]), THRESHOLDS, r=r)
    for scope, share in (("all", of_array.share), ("layers", of_array.share_within_layers)):
        np.testing.assert_array_equal(found.loc[found["scope"] == scope, "share"], share)


def test_spans_and_shared_clusters_follow_from_the_members(store: Store) -> None:
    run(store)
    spans, shared = frame(store, "FROM cluster_spans"), frame(store, "FROM shared_clusters")
    for threshold in THRESHOLDS:
        many = clusters_at(store, threshold).query("size > 1")
        groups = many.groupby("cluster")
        reach = groups["layer"].max() - groups["layer"].min() + 1
        home = groups["component"].agg(lambda names: names.iloc[0] if len(set(names)) == 1 else "")
        own = spans[spans["threshold"] == threshold]
        for component in (None, "mlp", "resid"):
            kept = reach if component is None else reach[home == component]
            rows = own[own["component"].isna() if component is None else own["component"] == component]
            assert rows["window_size"].tolist() == [1, 2, 3]
            assert rows["n_clusters"].tolist() == [len(kept)] * 3
            assert rows["n_within"].tolist() == [(kept <= w).sum() for w in (1, 2, 3)]
        members = {key: set(part["cluster"]) for key, part in many.groupby(["component", "layer"])}
        keys = ["component", "layer", "other_component", "other_layer"]
        counts = shared[shared["threshold"] == threshold].set_index(keys)["n_clusters"].to_dict()
        assert counts == {(*a, *b): len(members.get(a, set()) & members.get(b, set())) for a in LAYERS for b in LAYERS}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("signed", [False, True])
def test_all_pairs_of_the_largest_clusters_are_listed(
    store: Store, precision: str, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their r: of the first members of clusters that fit, at each threshold."""
    for name, value in (("N_MEMBERS", 4), ("N_NEURONS", 15)):
        monkeypatch.setattr(f"pipeline.correlate.leading_members.{name}", value)
    run(store, edges=None, precision=precision, signed=signed)
    neurons, r = correlations(store)
    place = {key: i for i, key in enumerate(neurons.itertuples(index=False, name=None))}
    found = frame(store, "FROM cluster_pairs")
    assert set(zip(found["linkage"], found["signed"], strict=True)) == {("average", signed)}
    sizes = []
    for threshold in THRESHOLDS:
        own = found[found["threshold"] == threshold]
        i = [place[key] for key in zip(own["component"], own["layer"], own["neuron"], strict=True)]
        j = [place[key] for key in zip(own["other_component"], own["other_layer"], own["other_neuron"], strict=True)]
        shown = first_members(clusters_at(store, threshold), place)
        assert sorted(zip(i, j, strict=True)) == list(combinations(shown, 2))
        np.testing.assert_allclose(own["r"], r[i, j], atol=1e-12 if precision == "float64" else 1e-6)
        sizes.append(len(shown))
    assert max(sizes) > 8
    assert found["r"].abs().min() < 0.1


def first_members(table: pd.DataFrame, place: dict[tuple[str, int, int], int]) -> list[int]:
    """Of the largest clusters with 15 members together four each, ascending."""
    left, shown = 15, []
    largest = (
        table[table["size"] > 1].groupby("cluster").size().sort_index().sort_values(ascending=False, kind="stable")
    )
    for number, size in largest.items():
        left -= min(size, 4)
        if left < 0:
            break
        members = table[table["cluster"] == number].sort_values("member_mean_r", ascending=False, kind="stable")
        shown += [
            place[key] for key in members[["component", "layer", "neuron"]].head(4).itertuples(index=False, name=None)
        ]
    return sorted(shown)


@pytest.mark.parametrize(("least", "precision"), [(0.6, "float64"), (0.9, "float32"), (0.0, "float64")])
def test_edges_are_the_pairs_of_that_strength(
    store: Store, least: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tables, "EDGES_PER_FILE", 100)
    run(store, edges=least, precision=precision)
    neurons, r = correlations(store)
    place = {key: i for i, key in enumerate(neurons.itertuples(index=False, name=None))}
    found = frame(store, "FROM correlation_edges")
    i = [place[key] for key in zip(found["component"], found["layer"], found["neuron"], strict=True)]
    j = [place[key] for key in zip(found["other_component"], found["other_layer"], found["other_neuron"], strict=True)]
    a, b = np.triu_indices(len(r), 1)
    kept = np.abs(r[a, b]) >= least
    assert sorted(zip(i, j, strict=True)) == list(zip(a[kept].tolist(), b[kept].tolist(), strict=True))
    np.testing.assert_allclose(found["r"], r[i, j], atol=1e-12 if precision == "float64" else 1e-6)
    assert found["r"].abs().max() == 1
    sizes = [entry.n_rows for entry in store.files("correlation_edges")]
    assert sum(sizes) == len(found) > 5
    assert sizes == [100] * (len(found) // 100) + [len(found) % 100] * (len(found) % 100 > 0)


def test_no_edges_are_listed_unless_asked_for(store: Store) -> None:
    run(store, edges=0.9)
    assert len(frame(store, "FROM correlation_edges"))
    run(store, edges=None)
    assert store.files("correlation_edges") == []
    run(store, edges=1.0, components=["resid"], signed=True)
    assert set(frame(store, "FROM correlation_edges")["r"].round(9)) == {1.0, -1.0}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_spectra_are_those_of_a_pca(store: Store, precision: str) -> None:
    run(store, precision=precision)
    spectra, dimensions = frame(store, "FROM pca_spectrum"), frame(store, "FROM layer_dimensions")
    assert len(spectra) == 3 * WIDTH
    for component, layer in LAYERS:
        with tables(store) as read:
            _, values = read.activations(component, layer, "mine")
        model = PCA(svd_solver="full").fit(values)
        own = spectra[(spectra["component"] == component) & (spectra["layer"] == layer)]
        assert own["k"].tolist() == list(range(1, WIDTH + 1))
        variances = model.explained_variance_ * (N_ROWS - 1) / N_ROWS
        tolerance = 1e-6 if precision == "float32" else 1e-12
        np.testing.assert_allclose(own["eigenvalue"], variances, rtol=tolerance, atol=tolerance * variances[0])
        of_array = principal_spectrum(values)
        np.testing.assert_allclose(
            own["eigenvalue"], of_array.eigenvalues, rtol=tolerance, atol=tolerance * variances[0]
        )
        np.testing.assert_allclose(own["cumulative"], np.cumsum(model.explained_variance_ratio_), atol=tolerance)
        (row,) = dimensions[(dimensions["component"] == component) & (dimensions["layer"] == layer)].to_dict("records")
        assert (row["n_neurons"], row["n_rows"], row["rank"]) == (WIDTH, N_ROWS, WIDTH - 3)
        assert row["rank"] == of_array.rank
        assert row["participation_ratio"] == pytest.approx(of_array.participation_ratio)
        assert row["effective_rank"] == pytest.approx(of_array.effective_rank)
        assert row["total_variance"] == pytest.approx(values.var(axis=0).sum())
        for level in (90, 95, 99):
            assert row[f"n_{level}"] == np.argmax(np.cumsum(model.explained_variance_ratio_) >= level / 100) + 1


def contents(store: Store) -> dict[str, bytes]:
    """The files of all tables of a clustering, by path."""
    return {e.path: store.storage.read(e.path) for table in CLUSTER_TABLES for e in store.files(table)}


@pytest.mark.slow  # that tiles have the same bits is tested in test_run_moment_tiles.py
def test_every_executor_and_a_resumed_run_give_the_same_bytes(
    store: Store, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = {
        name: Store.open(str(shutil.copytree(store.url, tmp_path / name))) for name in ("spawn", "ray", "resumed")
    }
    run(store)
    expected = contents(store)
    assert len(expected) == len(CLUSTER_TABLES)
    for name, executor in (("spawn", LocalExecutor(2)), ("ray", RayExecutor(workers=2))):
        run(copies[name], executor)
        assert contents(copies[name]) == expected
    process, done = TileWorker.process, []

    def fails(self: TileWorker, task: TileTask, attempt: int) -> dict[str, Any]:
        if len(done) == 4:
            raise MemoryError("gone")
        done.append(task.key)
        return process(self, task, attempt)

    resumed = copies["resumed"]
    with monkeypatch.context() as patch:
        patch.setattr(TileWorker, "process", fails)
        with pytest.raises(IncompleteError, match="gone"):
            run(resumed)
    with monkeypatch.context() as patch:
        patch.setattr(neuron_clusters, "edges", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(resumed)
    assert contents(resumed) == {}, "no table appears before all of them are there"
    run(resumed)
    assert contents(resumed) == expected


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def never(*_: Any, **__: Any) -> None:
    pytest.fail("is computed again")


def test_what_is_there_is_not_computed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store)
    first = contents(store)
    monkeypatch.setattr(TileWorker, "process", never)
    monkeypatch.setattr(neuron_clusters, "pca_spectrum", never)
    run(store, thresholds=[0.2], edges=0.5)
    assert {path.split("/")[0] for path in set(contents(store)) - set(first)} == {*PARTITION_TABLES, *EDGE_TABLES}
    assert frame(store, "FROM clusters")["threshold"].unique().tolist() == [0.2]
    monkeypatch.setattr(neuron_clusters, "cluster_tiles", never)
    monkeypatch.setattr(neuron_clusters, "edges", never)
    run(store)
    assert contents(store) == first
    run(store, thresholds=[*THRESHOLDS[::-1], 0.3])  # the same ones
    assert contents(store) == first


def test_a_part_of_the_layers(store: Store) -> None:
    assert run(store, components=["mlp"], layers=[5]) == WIDTH
    found = frame(store, "FROM clusters WHERE threshold = 0.3")
    assert set(zip(found["component"], found["layer"], strict=True)) == {("mlp", 5)}
    _, r = correlations(store)
    expected = partition(r[WIDTH : 2 * WIDTH, WIDTH : 2 * WIDTH], "average", 0.3, False)
    np.testing.assert_array_equal(found.sort_values("neuron")["cluster"], expected)


def test_settings_that_leave_nothing_are_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="nothing of the dump is left by layers 4; it has layers 3, 5 of mlp, resid"):
        run(store, layers=[4])
    with pytest.raises(UsageError, match=r"memory_mb must be at least \d+ for the largest component"):
        cluster_with_little_memory(store)
    assert contents(store) == {}


def cluster_with_little_memory(store: Store) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.correlate.component_matrices.MEBIBYTE", 1 << 10)
        run(store, memory_mb=1)


@pytest.mark.parametrize(
    "pattern", ["clusters/*/*.parquet", "redundancy/*/*.parquet", "states/*/tiles-*/0000-0001.npz"]
)
def test_what_is_damaged_is_made_again(store: Store, pattern: str) -> None:
    run(store)
    (file,) = Path(store.url).glob(pattern)
    before = file.read_bytes()
    (flip if "states" in pattern else cut)(file)
    report = repair(store, verify(store), LocalExecutor(), Silent())
    assert (report.failed, file.read_bytes()) == ({}, before)
    assert verify(store) == []


def test_earlier_clusters_are_superseded_and_those_of_the_settings_are_not(store: Store) -> None:
    save_settings(store, planned(store, thresholds=[0.1]))
    for thresholds, precision in (([0.1], "float32"), ([0.2], "float32"), ([0.3], "float64"), ([0.4], "float64")):
        run(store, thresholds=thresholds, precision=precision)
    options = GcOptions(superseded=True, keep_snapshots=1, live_stages=live_stages(store))
    collect(store.storage, options, now=time.time() + 2 * 86_400)
    assert len(list(Path(store.url).glob("clusters/*/*.parquet"))) == 2
    assert len(list(Path(store.url).glob("states/*/tiles-*"))) == 2
    save_settings(store, planned(store, thresholds=[0.4], precision="float64"))
    options = GcOptions(superseded=True, keep_snapshots=1, live_stages=live_stages(store))
    collect(store.storage, options, now=time.time() + 2 * 86_400)
    assert len(list(Path(store.url).glob("states/*/tiles-*/*.npz"))) == 15
    assert frame(store, "FROM clusters")["threshold"].unique().tolist() == [0.4]
    assert verify(store) == []


def test_a_lost_manifest_lists_them_again(finished: Finished, tmp_path: Path) -> None:
    store = Store.open(str(shutil.copytree(finished.store.url, tmp_path / "store")))
    assert run(store) == 3 * finished.plan.capture.widths["resid"] + 2 * finished.plan.capture.widths["mlp"]
    plan = planned(store)
    save_settings(store, plan)
    expected = contents(store)
    store.advance_all({(table, plan.run_id): () for table in CLUSTER_TABLES})
    assert contents(store) == {}
    assert "cluster to do" in overview(plan, store)[-1]
    reregister(store, plan, LocalExecutor(), Silent())
    assert contents(store) == expected
    assert "cluster" in overview(plan, store)[-1].partition(" done")[0]


def test_they_are_published(store: Store) -> None:
    run(store)
    snapshot = publish(store)
    with duckdb.connect(f"{store.url}/snapshots/{snapshot}/neuronmill.duckdb", read_only=True) as connection:
        for table in set(CLUSTER_TABLES) - {"correlation_edges"}:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert count == len(frame(store, f"FROM {table}")) > 0
        edges = connection.execute(f"SELECT count(*) FROM correlation_edges('{store.url}')").fetchone()
        assert edges == (len(frame(store, "FROM correlation_edges")),)
        found = connection.execute("FROM cluster_concepts(0.7)").df()
    pd.testing.assert_frame_equal(found, frame(store, "FROM cluster_concepts(0.7)"))


@pytest.mark.parametrize(("method", "k"), [("ap", 2), ("auroc", 5)])
def test_concepts_of_clusters(store: Store, method: str, k: int) -> None:
    run(store)
    found = frame(store, f"FROM cluster_concepts(0.7, method := '{method}', k := {k})")
    clusters = clusters_at(store, 0.7).query("size > 1")
    key = ["component", "layer", "neuron"]
    ranked = frame(store, f"FROM rankings WHERE method = '{method}' AND score IS NOT NULL")
    own = ranked.sort_values(["score", "concept"], ascending=[False, True])
    own["own_place"] = own.groupby(key).cumcount()
    joined = clusters[[*key, "cluster"]].merge(own, on=key)
    grouped = joined.groupby(["cluster", "concept"])
    best = pd.DataFrame({
        "score": grouped["score"].max(),
        "n_members": grouped["own_place"].agg(lambda places: (places < k).sum()),
    }).reset_index()  # fmt: skip
    best = best.sort_values(["cluster", "score", "n_members", "concept"], ascending=[True, False, False, True])
    best = best[best.groupby("cluster").cumcount() < k]
    ours = found.dropna(subset="concept").sort_values(["cluster", "place"])
    assert list(zip(ours["cluster"], ours["concept"], ours["score"], ours["n_members"], strict=True)) == list(
        zip(best["cluster"], best["concept"], best["score"], best["n_members"], strict=True)
    )
    assert set(found["cluster"]) == set(clusters["cluster"])
    heads = clusters[clusters["is_representative"]].set_index("cluster")
    for row in found.itertuples():
        head = heads.loc[row.cluster]
        assert (row.component, row.layer, row.neuron, row.size) == (*head[key], head["size"])
    assert found["size"].is_monotonic_decreasing


def test_clusters_without_rankings_have_no_concepts(store: Store) -> None:
    run(store)
    store.advance("rankings", load_plan(store).run_id, ())
    found = frame(store, "FROM cluster_concepts(0.3)")
    assert len(found) == clusters_at(store, 0.3).query("size > 1")["cluster"].nunique()
    assert found[["place", "concept", "score"]].isna().all(axis=None)
    assert (found["n_members"] == 0).all()
    with pytest.raises(duckdb.Error, match=r"no clusters at threshold 0.35; SELECT DISTINCT threshold FROM clusters"):
        frame(store, "FROM cluster_concepts(0.35)")
