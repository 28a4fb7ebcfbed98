"""Explanations of a store end to end: they equal those of plain arrays, whoever computes them and in what pieces."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from damage import cut, flip
from tiny_run import Finished, Inputs, run_stages, tables

from pipeline.extract.row_sample import is_drawn
from pipeline.run.analyses import analyses
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_explanations import explain
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, save_settings
from pipeline.run.progress import Silent
from pipeline.run.repair import repair
from pipeline.search import explain as explain_arrays
from pipeline.store import Store
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.verify import verify
from schemas.analysis_config import ExplainConfig
from schemas.errors import ConfigError

SAME = ("formula", "length", "iou", "score", "heldout_iou", "threshold", "n_rows", "n_active", "n_formula", "n_both")
LISTS = ("concepts", "operands", "operand_shares", "senses")


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Store:
    return Store.open(str(shutil.copytree(finished.store.url, tmp_path / "store")))


def with_section(plan: Plan, memory_mb: int = 512, **settings: object) -> Plan:
    executor = plan.config.executor.model_copy(update={"memory_mb": memory_mb})
    section = ExplainConfig.model_validate(settings)
    return plan.with_config(plan.config.model_copy(update={"explain": section, "executor": executor}))


def run(store: Store, executor: LocalExecutor | None = None, memory_mb: int = 512, **settings: object) -> int:
    plan = with_section(load_plan(store), memory_mb, **settings)
    return explain(plan, store, executor or LocalExecutor(), Silent())


def explained(store: Store) -> list[dict]:
    with tables(store) as read:
        found = read.connection.execute("SELECT * FROM explanations")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def arrays(store: Store, component: str, layer: int):
    """Values (T, N), labels by concept, masks of the counted train and test rows, and row ids."""
    with tables(store) as read:
        row_ids, values = read.activations(component, layer)
        labels = read.labels(row_ids)
        rows = {
            row: (split, counted) for row, split, counted in read.rows("SELECT row_id, split, is_counted FROM rows")
        }
        names = [name for (name,) in read.rows("SELECT concept FROM concepts")]
    splits = {s: np.array([rows[row] == (s, True) for row in row_ids.tolist()]) for s in ("train", "test")}
    return values, np.stack([labels[name] for name in names], axis=1), names, splits, row_ids


def check(found: dict, expected, sign: int = 1) -> None:
    for name in SAME:
        wanted = getattr(expected, name)
        wanted = wanted * sign if name == "threshold" else wanted
        assert found[name] == wanted, name
    for name in LISTS:
        assert found[name] == list(getattr(expected, name)), name
    assert found["is_polysemous"] == expected.is_polysemous


@pytest.mark.parametrize("memory_mb", [512, 16])
def test_they_equal_those_of_plain_arrays(copy, memory_mb):
    settings = {"alpha": 0.05, "beam": 4, "length": 3}
    assert run(copy, memory_mb=memory_mb, neurons=["mlp:1", "-resid:2:3-5", "resid:2:4"], **settings) > 4
    found = explained(copy)
    for component, layer, sign, neurons in (("mlp", 1, 1, None), ("resid", 2, -1, [3, 4, 5]), ("resid", 2, 1, [4])):
        values, labels, names, splits, _ = arrays(copy, component, layer)
        chosen = values if neurons is None else values[:, neurons]
        train, test = splits["train"], splits["test"]
        expected = explain_arrays(
            sign * chosen[train], labels[train], names, heldout=(sign * chosen[test], labels[test]), **settings
        )
        ours = [row for row in found if (row["component"], row["layer"], row["sign"]) == (component, layer, sign)]
        assert [row["neuron"] for row in ours] == (neurons or list(range(values.shape[1])))
        for row, wanted in zip(ours, expected, strict=True):
            check(row, wanted, sign)
            assert (row["model"], row["unit"], row["split"]) == ("tiny", "token", "train")
            assert json.loads(row["params"]) == {
                **settings, "label_on": "all", "penalty": 0.01, "max_rows": 1_000_000
            }  # fmt: skip
    assert any(row["formula"] and row["heldout_iou"] is not None for row in found)


def test_by_default_the_best_neuron_of_each_concept_where_its_sign_points(copy):
    n_neurons = run(copy)
    with tables(copy) as read:
        best = read.rows(
            "SELECT DISTINCT component, layer, neuron, sign FROM rankings "
            "WHERE method = 'ap' AND rank = 1 AND score > 0"
        )
    found = [(row["component"], row["layer"], row["neuron"], row["sign"]) for row in explained(copy)]
    assert sorted(found) == sorted(best)
    assert n_neurons == len(best)
    assert {sign for *_, sign in best} == {1, -1}
    assert run(copy, top=2, method="auroc") > n_neurons


def test_a_sample_of_rows_is_drawn_by_hash_and_named(copy):
    run(copy, neurons=["mlp:2:0-3"], alpha=0.1, max_rows=200)
    values, labels, names, splits, row_ids = arrays(copy, "mlp", 2)
    used = {split: mask & is_drawn(200 / mask.sum(), 0, row_ids) for split, mask in splits.items()}
    assert 150 < used["train"].sum() < 250 < splits["train"].sum()
    train, test = used["train"], used["test"]
    heldout = (values[test][:, :4], labels[test])
    expected = explain_arrays(values[train][:, :4], labels[train], names, alpha=0.1, heldout=heldout)
    for row, wanted in zip(explained(copy), expected, strict=True):
        check(row, wanted)
        params = json.loads(row["params"])
        assert (row["n_rows"], params["max_rows"]) == (train.sum(), 200)
        assert params["rows"] == f"{200 / splits['train'].sum():g} by hash, seed 0"


def test_a_killed_run_is_taken_up_again_and_workers_change_no_byte(copy, tmp_path):
    settings = {"neurons": ["mlp:1:0-2", "mlp:2:5", "resid:0:1"], "alpha": 0.1}
    other = Store.open(str(shutil.copytree(copy.url, tmp_path / "other")))
    run(copy, **settings)
    root = Path(copy.url)
    (table,) = root.glob("explanations/*/*.parquet")
    parts = sorted(root.glob("states/*/explain-*/*.parquet"))
    receipts = sorted(root.glob("receipts/explain-*/*.json"))
    assert len(parts) == len(receipts) == 3
    run(other, LocalExecutor(workers=2), memory_mb=16, **settings)
    (same,) = Path(other.url).glob("explanations/*/*.parquet")
    assert same.read_bytes() == table.read_bytes()
    before = table.read_bytes()
    for made in root.glob("receipts/explanations-*/*.json"):
        made.unlink()
    table.unlink()
    receipts[0].unlink()
    untouched = [path.stat().st_mtime_ns for path in receipts[1:]]
    run(copy, **settings)
    assert table.read_bytes() == before
    assert [path.stat().st_mtime_ns for path in receipts[1:]] == untouched


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": ["mlp:9:1"]}, "mlp:9 was not dumped; there is resid:0"),
        ({"neurons": ["attn:1"]}, "attn:1 was not dumped"),
        ({"neurons": ["mlp:1:0-99999"]}, "mlp:1 has the neurons 0-"),
        ({"neurons": ["mlp:1:5-3"]}, "mlp:1 has the neurons 0-"),
    ],
)
def test_neurons_that_are_not_there_are_refused(copy, settings, message):
    with pytest.raises(ConfigError, match=message):
        run(copy, **settings)


def test_without_a_ranking_there_is_nothing_to_choose_by(copy):
    copy.advance("rankings", load_plan(copy).run_id, ())
    with pytest.raises(ConfigError, match=r"no rankings by ap .*--neurons.*neuronmill search"):
        run(copy)


@pytest.mark.parametrize("pattern", ["explanations/*/*.parquet", "states/*/explain-*/mlp-001-*.parquet"])
def test_what_is_damaged_is_made_again(copy, pattern):
    run(copy, neurons=["mlp:1:0-2"])
    (file,) = Path(copy.url).glob(pattern)
    before = file.read_bytes()
    (flip if "states" in pattern else cut)(file)
    report = repair(copy, verify(copy), LocalExecutor(), Silent())
    assert (report.failed, file.read_bytes()) == ({}, before)
    assert verify(copy) == []


def test_earlier_explanations_are_superseded_and_those_of_the_settings_are_not(copy):
    plan = with_section(load_plan(copy), neurons=["mlp:1:0-2"])
    save_settings(copy, plan)
    for settings in ({"neurons": ["mlp:1:0-2"]}, {"neurons": ["mlp:2:0-2"]}, {"neurons": ["mlp:2:7"]}):
        run(copy, **settings)
    options = GcOptions(superseded=True, keep_snapshots=1, live_stages=live_stages(copy))
    collect(copy.storage, options, now=time.time() + 2 * 86_400)
    files = list(Path(copy.url).glob("explanations/*/*.parquet"))
    assert len(files) == 2
    assert {row["neuron"] for row in explained(copy)} == {7}
    assert verify(copy) == []
    parts = [part for analysis in analyses(load_plan(copy), copy) for part in analysis.parts]
    assert any(part.startswith("explain-") for part in parts)


def test_they_are_published(copy):
    run(copy, neurons=["mlp:1:0-2"])
    snapshot = publish(copy)
    import duckdb

    with duckdb.connect(f"{copy.url}/snapshots/{snapshot}/neuronmill.duckdb", read_only=True) as connection:
        rows = connection.execute("SELECT neuron, formula FROM explanations").fetchall()
    assert rows == [(row["neuron"], row["formula"]) for row in explained(copy)]


def test_a_corpus_without_splits_in_float32(inputs: Inputs, tmp_path: Path) -> None:
    config = inputs.config(
        tmp_path / "store",
        corpus={"sources": [str(inputs.train)]},
        dump={"dtype": "float32", "layers": [1], "unit": "word"},
        search={"round_to": "float16", "keep": 1},
    )
    store = run_stages(config).store
    run(store, neurons=["mlp:1"], alpha=0.2)
    with tables(store) as read:
        row_ids, values = read.activations("mlp", 1)
        labels = read.labels(row_ids)
        names = [name for (name,) in read.rows("SELECT concept FROM concepts")]
        is_counted = np.array([counted for (counted,) in read.rows("SELECT is_counted FROM rows ORDER BY row_id")])
    concepts = np.stack([labels[name] for name in names], axis=1)
    expected = explain_arrays(values[is_counted], concepts[is_counted], names, alpha=0.2)
    for row, wanted in zip(explained(store), expected, strict=True):
        check(row, wanted)
        assert (row["split"], row["unit"], row["heldout_iou"]) == ("all", "word", None)
