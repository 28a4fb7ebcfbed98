"""A map of planted groups of neurons: each group is found, and what was made is not made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from import_case import make_case, run_import
from sklearn.metrics import adjusted_rand_score
from tiny_run import tables

from pipeline.run import neuron_mapping
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.moment_tiles import TileWorker
from pipeline.run.neuron_mapping import map_neurons
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.analysis_config import MapConfig
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
