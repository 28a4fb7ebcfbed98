"""A map of planted groups of neurons: each group is found, and what was made is not made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from import_case import make_case, run_import
from sklearn.metrics import adjusted_rand_score
from tiny_run import tables

from pipeline.correlate import correlation_map
from pipeline.run import neuron_mapping
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.moment_tiles import TileWorker
from pipeline.run.neuron_mapping import map_neurons
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.analysis_config import ClusterConfig, MapConfig
from schemas.errors import UsageError

#: Planted group of each neuron; the last one is constant.
PLANTED = np.repeat([0, 1, 2], [30, 20, 15])


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    folder = tmp_path_factory.mktemp("map")
    case = make_case(300, len(PLANTED) + 1)
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(300, 3))
    case.values[:, :-1] = factors[:, PLANTED] * rng.choice([-1, 1], len(PLANTED)) + 0.4 * rng.normal(
        size=(300, len(PLANTED))
    )
    case.values[:, -1] = 2.5
    x, labels = case.save(folder)
    plan = run_import(folder / "store", x, labels=labels)
    return Store.open(str(folder / "store")), plan


def mapped(store: Store, plan: Plan, **settings: object) -> list[tuple]:
    config = plan.config.model_copy(update={"map": MapConfig(**settings)})
    map_neurons(plan.with_config(config), store, LocalExecutor(), Silent())
    with tables(store) as read:
        return read.rows("SELECT neuron, x, y, map_group, method, params FROM neuron_map ORDER BY neuron")


@pytest.mark.parametrize("settings", [{"groups": 3}, {"method": "hdbscan"}, {"groups": 3, "space": "profile"}])
def test_planted_groups_are_found_and_a_constant_neuron_is_nowhere(
    imported: tuple[Store, Plan], settings: dict[str, object]
) -> None:
    rows = mapped(*imported, **settings)
    assert [row[0] for row in rows] == list(range(len(PLANTED) + 1))
    assert rows[-1][1:4] == (None, None, None)
    assert adjusted_rand_score(PLANTED, [row[3] for row in rows[:-1]]) == 1
    assert all(np.isfinite(row[1:3]).all() for row in rows[:-1])


@pytest.mark.parametrize("settings", [{"seed": 1}, {"signed": True, "space": "profile"}])
def test_the_map_of_an_array_is_that_of_the_store(imported: tuple[Store, Plan], settings: dict[str, object]) -> None:
    store, plan = imported
    exact = plan.with_config(plan.config.model_copy(update={"cluster": ClusterConfig(precision="float64")}))
    rows = mapped(store, exact, groups=3, **settings)
    with tables(store) as read:
        _, values = read.activations("mlp", 3, "mine")
    found = correlation_map(values, 3, **settings)
    np.testing.assert_array_equal(found.coordinates[:-1], [row[1:3] for row in rows[:-1]])
    assert np.isnan(found.coordinates[-1]).all()
    assert found.cluster.tolist() == [row[3] for row in rows[:-1]] + [-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(values.T)
    r[-1], r[:, -1] = np.nan, np.nan
    assert adjusted_rand_score(PLANTED, correlation_map(r=r, k=3, **settings).cluster[:-1]) >= (
        not settings.get("signed")
    )


def test_the_map_of_an_array_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "researcher.md").read_text(encoding="utf-8")
    (snippet,) = (block for block in page.split("```")[1::2] if "import correlation_map" in block)
    base = np.random.default_rng(0).normal(size=(200, 3))
    exec(
        snippet.removeprefix("python\n"),
        {"X": np.repeat(base, 6, axis=1) + np.random.default_rng(1).normal(size=(200, 18))},
    )
    assert capsys.readouterr().out == "(18, 2) 3\n"


def test_an_array_of_too_few_neurons_that_vary_has_no_map() -> None:
    for values, n in ((np.eye(9)[:, :1], 1), (np.empty((0, 9)), 0), (np.ones((4, 9)), 0)):
        with pytest.raises(UsageError, match=f"at least 5 neurons that are not constant, got {n}"):
            correlation_map(values, 1)


def test_a_map_is_made_once_and_of_the_same_tiles(
    imported: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mapped(*imported, groups=3)
    monkeypatch.setattr(TileWorker, "process", lambda *_: pytest.fail("co-moments are folded again"))
    mapped(*imported, groups=4)
    monkeypatch.setattr(neuron_mapping, "neuron_map", lambda *_, **__: pytest.fail("the map is made again"))
    assert mapped(*imported, groups=3) == first


def test_too_many_groups_are_refused_and_leave_the_map_as_it_is(imported: tuple[Store, Plan]) -> None:
    before = mapped(*imported, groups=3)
    with pytest.raises(UsageError, match="k must be at most"):
        mapped(*imported, groups=1000)
    with tables(imported[0]) as read:
        assert len(read.rows("SELECT 1 FROM neuron_map")) == len(before)


def test_unsigned_profiles_join_a_neuron_and_its_negation(tmp_path: Path) -> None:
    case = make_case(200, 24)
    base = np.random.default_rng(0).normal(size=(200, 2))
    side = np.tile([1.0, -1.0], 12)
    case.values[:] = base[:, np.repeat([0, 1], 12)] * side + 0.3 * np.random.default_rng(1).normal(size=(200, 24))
    x, labels = case.save(tmp_path)
    plan = run_import(tmp_path / "store", x, labels=labels)
    store = Store.open(str(tmp_path / "store"))
    groups = [row[3] for row in mapped(store, plan, groups=2)]
    assert adjusted_rand_score(np.repeat([0, 1], 12), groups) == 1
    signed = [row[3] for row in mapped(store, replace(plan), groups=4, signed=True)]
    assert adjusted_rand_score(np.repeat([0, 1], 12) * 2 + (side > 0), signed) == 1
