"""Factors of layers end to end: what the tables say holds for the values that a reader of the store gets."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from damage import unlink
from sklearn.decomposition import NMF
from tiny_run import Finished, Silent, checksums, plan_only, tables

from pipeline.correlate import nmf
from pipeline.run.compact import compact
from pipeline.run.dump import dump
from pipeline.run.factors import factors, factors_stage, show_factors
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.repair import repair
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.analysis_config import FactorsConfig
from schemas.errors import ConfigError, IncompleteError

K = 4


@pytest.fixture(scope="module", params=["float16", "bfloat16", "float32"])
def dumped(request, inputs, tmp_path_factory) -> Finished:
    """A small dump, whose copies are analysed."""
    folder = tmp_path_factory.mktemp("factors") / "store"
    sections = {"layers": [1, 2], "rows_per_shard": 300, "dtype": request.param}
    found = plan_only(inputs.config(folder, dump=sections))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    return found


@pytest.fixture
def copy(dumped: Finished, tmp_path: Path) -> Finished:
    """A copy of it."""
    store = shutil.copytree(dumped.store.url, tmp_path / "store")
    return Finished(Store.open(str(store)), dumped.plan)


only_float16 = pytest.mark.parametrize("dumped", ["float16"], indirect=True)


def with_factors(found: Finished, memory_mb: int = 512, **settings: object) -> Finished:
    """The plan with other settings of the factors."""
    config = found.plan.config
    executor = config.executor.model_copy(update={"memory_mb": memory_mb})
    section = FactorsConfig.model_validate({"k": K, "components": ["mlp"], **settings})
    plan = found.plan.with_config(config.model_copy(update={"factors": section, "executor": executor}))
    return Finished(found.store, plan)


def run_factors(found: Finished, executor: object = None) -> int:
    return factors(found.plan, found.store, executor or LocalExecutor(), Silent())


def layer_of(read, layer: int):
    """Counted row ids, and max(x, 0) of these rows, (T, N) float64."""
    row_ids, values = read.activations("mlp", layer)
    counted = dict(read.rows("SELECT row_id, is_counted FROM rows"))
    kept = [counted[row] for row in row_ids.tolist()]
    return row_ids[kept], values[kept]


def test_the_tables_say_what_the_activations_do(copy):
    found = with_factors(copy, rows_per_factor="all", passes=20)
    assert run_factors(found) == 2
    with tables(found.store) as read:
        for layer in (1, 2):
            row_ids, values = layer_of(read, layer)
            positive, (n_rows, n_neurons) = np.maximum(values, 0), values.shape
            where = f"WHERE component = 'mlp' AND layer = {layer} ORDER BY factor"
            table = read.query(f"FROM factors {where}")
            assert table["factor"] == list(range(K))
            assert set(table["n_rows"]) == {n_rows}
            weights, rows = np.zeros((K, n_neurons)), np.zeros((n_rows, K))
            for factor, neuron, weight in read.rows(f"SELECT factor, neuron, weight FROM factor_neurons {where}"):
                weights[factor, neuron] = weight
            own = nmf(values, K, passes=20)
            np.testing.assert_array_equal(own.weights, weights)
            place = {row: number for number, row in enumerate(row_ids.tolist())}
            for factor, row, value in read.rows(f"SELECT factor, row_id, value FROM factor_rows {where}"):
                rows[place[row], factor] = value
            np.testing.assert_array_equal(own.values, rows)
            np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1)
            lost, whole = np.square(positive - rows @ weights).sum(), np.square(positive).sum()
            model = NMF(K, init="nndsvda", max_iter=2000, tol=1e-6).fit(positive)
            assert np.sqrt(lost) <= 1.02 * model.reconstruction_err_
            expected = {
                "relative_error": np.sqrt(lost / whole),
                "explained": 1 - lost / whole,
                "variance_explained": 1 - lost / (positive.var(axis=0).sum() * n_rows),
                "negative_share": -values[values < 0].sum() / np.abs(values).sum(),
                "negative_square_share": np.square(values[values < 0]).sum() / np.square(values).sum(),
                "mean": rows.mean(axis=0),
                "max": rows.max(axis=0),
                "n_active": (rows > 0).sum(axis=0),
                "share": [(positive * np.outer(rows[:, k], weights[k])).sum() / whole for k in range(K)],
            }
            for name, value in expected.items():
                np.testing.assert_allclose(table[name], np.broadcast_to(value, K), rtol=1e-6, err_msg=name)
            assert sum(table["share"]) == pytest.approx(table["explained"][0], abs=1e-5)
            assert json.loads(table["params"][0]) == {"k": K, "seed": 0, "passes": 20, "batch_rows": 1024}
        ((n_ranked,),) = read.rows("SELECT count(rank) FROM factor_rows")
        assert n_ranked == 0


@only_float16
def test_ranks_go_by_weight_and_by_value(copy, monkeypatch):
    everything, best = with_factors(copy, rows_per_factor="all"), with_factors(copy, rows_per_factor=7)
    monkeypatch.setattr("pipeline.run.factor_rows.ROWS_PER_FILE", 500)
    run_factors(everything)
    assert len(everything.store.files("factor_rows", copy.plan.run_id)) > 4
    ranked = "SELECT layer, factor, row_id, value, row_number() OVER ({0}) AS place FROM factor_rows QUALIFY place <= 7"
    over = "PARTITION BY layer, factor ORDER BY value DESC, row_id"
    with tables(copy.store) as read:
        expected = read.rows(f"FROM ({ranked.format(over)}) ORDER BY ALL")
    run_factors(best)
    with tables(copy.store) as read:
        found = read.rows("SELECT layer, factor, row_id, value, rank FROM factor_rows ORDER BY ALL")
        neurons = read.rows("SELECT layer, factor, rank, weight, neuron, neuron_share FROM factor_neurons ORDER BY ALL")
    assert found == expected
    for (layer, factor, rank, weight, *_), after in pairwise(neurons):
        if (layer, factor) == after[:2]:
            assert (after[2], after[3] <= weight) == (rank + 1, True)
    assert all(0 < share <= 1 + 1e-9 for *_, share in neurons)


@only_float16
def test_the_same_bytes_on_any_executor_and_under_any_memory(dumped, tmp_path, ray_cluster):
    seen = []
    for name, executor, memory in (
        ("one", LocalExecutor(), 512),
        ("two", LocalExecutor(2), 16),
        ("ray", RayExecutor(2), 512),
    ):
        store = Store.open(str(shutil.copytree(dumped.store.url, tmp_path / name)))
        run_factors(with_factors(Finished(store, dumped.plan), memory_mb=memory, components=None), executor)
        seen.append({path: digest for path, digest in checksums(store.url).items() if path.startswith("factor")})
    assert len(seen[0]) == 12
    assert seen[0] == seen[1] == seen[2]


@only_float16
def test_layers_that_are_read_again_long_files_and_kept_layers_are_the_same(copy, monkeypatch):
    run_factors(with_factors(copy))
    before = {path: digest for path, digest in checksums(copy.store.url).items() if path.startswith("factor")}
    for change in (
        lambda: monkeypatch.setattr("pipeline.run.layer_rows._ROWS", 37),
        lambda: monkeypatch.setattr("pipeline.run.factors._KEPT_SHARE", 0),
        lambda: compact(copy.plan, copy.store, LocalExecutor(), Silent(), 700),
    ):
        change()
        for receipt in Path(copy.store.url).glob("receipts/factors-*/*"):
            unlink(receipt)
        run_factors(with_factors(copy))
        after = checksums(copy.store.url)
        assert {path: digest for path, digest in after.items() if path.startswith("factor")} == before


@only_float16
def test_finished_layers_are_kept_and_damage_is_repaired(copy):
    run_factors(with_factors(copy, layers=[2]))
    root = Path(copy.store.url)
    (receipt,) = root.glob("receipts/factors-*/*")
    written = receipt.stat().st_mtime_ns
    run_factors(with_factors(copy))
    assert receipt.stat().st_mtime_ns == written
    assert len(list(root.glob("receipts/factors-*/*"))) == 2
    publish(copy.store)
    before = checksums(root)
    for pattern in ("factors/*/*-mlp-001.parquet", "factor_rows/*/*-mlp-002-*.parquet"):
        unlink(next(root.glob(pattern)))
    problems = verify(copy.store)
    assert len(problems) == 2
    assert repair(Store.open(copy.store.url), problems, LocalExecutor(), Silent()).failed == {}
    assert verify(Store.open(copy.store.url)) == []
    assert checksums(root) == before


@only_float16
def test_factors_of_earlier_settings_are_superseded_and_shown_again(copy):
    for k in (2, 3):
        run_factors(with_factors(copy, k=k))
    old, new = (factors_stage(with_factors(copy, k=k).plan) for k in (2, 3))
    with tables(copy.store) as read:
        assert read.rows("SELECT DISTINCT n_factors FROM factors") == [(3,)]
    assert show_factors(with_factors(copy, k=2).plan, copy.store)
    assert not show_factors(with_factors(copy, k=1).plan, copy.store)
    with tables(copy.store) as read:
        assert read.rows("SELECT DISTINCT n_factors FROM factors") == [(2,)]
    run_factors(with_factors(copy, k=3))
    options = GcOptions(older_than=0, superseded=True, live_stages=live_stages(copy.store))
    removed = {thing.path for thing in collect(copy.store.storage, options, dry_run=False, now=2e9).garbage}
    assert any(path.startswith(f"receipts/{old}/") for path in removed)
    assert not any(new in path for path in removed)
    assert verify(copy.store) == []
    with tables(copy.store) as read:
        assert read.rows("SELECT DISTINCT n_factors FROM factor_neurons JOIN factors USING (layer, factor)") == [(3,)]


@only_float16
def test_what_is_refused(copy, inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"factors.k is 99, and mlp:1 has \d+ neurons; lower it"):
        run_factors(with_factors(copy, k=99))
    with pytest.raises(
        ConfigError, match=r"nothing of the dump is left by .*layers 7; it has layers 1, 2 of resid, mlp"
    ):
        run_factors(with_factors(copy, layers=[7]))
    planned = plan_only(inputs.config(tmp_path / "planned"))
    with pytest.raises(IncompleteError, match="not dumped yet"):
        run_factors(planned)


@pytest.mark.parametrize(
    "settings",
    [
        {"neurons": {"mlp": ["3-9", "12-22"]}},
        {"mode": "topk", "k": 5},
        {"unit": "sentence"},
        {"rows_per_shard": 20, "sample": {"share": 0.1}},
    ],
    ids=["pieces", "sparse", "sentences", "sampled"],
)
def test_dumps_of_other_kinds(settings, inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store", dump={"layers": [1], **settings}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    run_factors(with_factors(found))
    assert verify(found.store) == []
    with tables(found.store) as read:
        (numbers,) = zip(*read.rows("SELECT DISTINCT neuron FROM factor_neurons"), strict=True)
        assert set(numbers) <= {n for piece in found.plan.capture.pieces("mlp") for n in piece}
        assert len(numbers) > 5
        ((error, n_rows, params),) = read.rows("SELECT DISTINCT relative_error, n_rows, params FROM factors")
        assert 0 < error < 1
        assert [(n_rows,)] == read.rows("SELECT count(*) FROM rows WHERE is_counted")
        extra = set(json.loads(params)) - {"k", "seed", "passes", "batch_rows"}
        said = {"mode": "stored", "unit": "pooling", "sample": "sample"}
        assert extra == {said[name] for name in settings if name in said}
