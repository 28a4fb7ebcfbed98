"""A search across models of a store end to end: it equals numpy on values read through SQL, whoever computed it."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from damage import cut, flip
from import_case import Case, make_case, run_import
from tiny_models import save_model
from tiny_run import Finished, Inputs, plan_only, tables, write_corpus

from pipeline.correlate import column_correlations, maxcorr, pwcca, svcca
from pipeline.correlate import shuffled as array_null
from pipeline.run.alignment import align
from pipeline.run.analyses import analyses
from pipeline.run.dump import dump
from pipeline.run.layer_pairs import PairWorker
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.model_comparison import compare_models
from pipeline.run.model_correlation import CorrelationReport, correlate
from pipeline.run.moment_tiles import null_order
from pipeline.run.neuron_search import search
from pipeline.run.plan_record import Plan
from pipeline.run.planning import plan_run
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
from schemas.correlate_config import CorrelateConfig
from schemas.errors import ConfigError, CorpusError, IncompleteError

LAYERS = {"components": ["resid", "mlp"], "layers": [1, 2]}


def numbered(path: Path) -> Path:
    """The corpus with a number for `xpos` in place of nothing, which some words lack."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rng = np.random.default_rng(5)
    for number, line in enumerate(lines):
        cells = line.split("\t")
        if len(cells) > 4:
            cells[4] = "_" if cells[1] == "." else f"{rng.normal():.3f}"
            lines[number] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> tuple[Finished, Finished]:
    """Two models of one store whose tokens differ, the second with rows of some words only."""
    folder = tmp_path_factory.mktemp("correlate")
    train, test = (numbered(path) for path in write_corpus(folder / "corpus"))
    save_model(folder / "other", "gpt2", "byte_level")
    mine = Inputs(train, test, inputs.model)
    first = plan_only(mine.config(folder / "store", dump=LAYERS))
    dump(first.plan, first.store, LocalExecutor(), Silent())
    sections = {"model": {"name": str(folder / "other")}, "dump": {**LAYERS, "sample": {"share": 0.8, "seed": 1}}}
    plan = plan_run(mine.config(folder / "store", **sections), first.store, LocalExecutor(), Silent())
    dump(plan, first.store, LocalExecutor(), Silent())
    return first, Finished(first.store, plan)


@pytest.fixture
def copy(models: tuple[Finished, Finished], tmp_path: Path) -> Store:
    return Store.open(str(shutil.copytree(models[0].store.url, tmp_path / "store")))


def with_section(plan: Plan, executor_mb: int = 512, **settings: Any) -> Plan:
    executor = plan.config.executor.model_copy(update={"memory_mb": executor_mb})
    section = CorrelateConfig.model_validate(settings)
    return plan.with_config(plan.config.model_copy(update={"correlate": section, "executor": executor}))


def run(store: Store, executor: Executor | None = None, executor_mb: int = 512, **settings: Any) -> CorrelationReport:
    plan = with_section(load_plan(store, settings.pop("model", "tiny")), executor_mb, **settings)
    return correlate(plan, store, executor or LocalExecutor(), Silent())


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    with tables(store) as read:
        found = read.connection.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def own_rows(plan: Plan) -> str:
    first, last = plan.shards[0], plan.shards[-1]
    return f"is_counted AND row_id BETWEEN {first.first_row} AND {last.first_row + last.n_rows - 1}"


def words_of(found: Finished) -> set[int]:
    with tables(found.store) as read:
        return {word for (word,) in read.rows(f"SELECT DISTINCT word_id FROM rows WHERE {own_rows(found.plan)}")}


def values(found: Finished, words: set[int]) -> dict[tuple[str, int], np.ndarray]:
    """(T, N) of each layer over the last token of each of the words, in order."""
    listed = ", ".join(map(str, sorted(words)))
    where = f"{own_rows(found.plan)} AND word_id IN ({listed})"
    made = {}
    with tables(found.store) as read:
        wanted = [
            row for (row,) in read.rows(f"SELECT max(row_id) r FROM rows WHERE {where} GROUP BY word_id ORDER BY r")
        ]
        for component, layer in found.plan.capture.targets:
            row_ids, matrix = read.activations(component, layer, found.plan.model)
            made[component, layer] = matrix[np.isin(row_ids, wanted)]
    return made


def shuffled(store: Store, plan: Plan, others: list[str], seed: int = 0) -> np.ndarray:
    """The order of the aligned rows that the null takes."""
    comparison = compare_models(with_section(plan, **{"with": others}), store)
    alignment, _ = align(store, comparison.members, Silent())
    sizes = [sum(len(units) for _, units in alignment.places(store, shard)[0]) for shard in plan.shards]
    starts = np.cumsum([0, *sizes])
    orders = [null_order(n, seed, shard) for n, shard in zip(sizes, plan.shards, strict=True)]
    return np.concatenate([start + order for start, order in zip(starts, orders, strict=False)])


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]


def r2(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """R² of each column of x on all of y by numpy's least squares."""
    x, y = x - x.mean(0), y - y.mean(0)
    fit = y @ np.linalg.lstsq(y, x, rcond=1e-7)[0]
    return 1 - ((x - fit) ** 2).sum(0) / (x**2).sum(0)


def brute_cka(x: np.ndarray, y: np.ndarray, *, debiased: bool) -> float:
    """From Gram matrices."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        if not debiased:
            return float((k * m).sum())
        k, m = k - np.diag(k.diagonal()), m - np.diag(m.diagonal())
        rest = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
        return float((np.sum(k * m) + rest) / (n * (n - 3)))

    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def brute_svcca(x: np.ndarray, y: np.ndarray) -> float:
    """By singular vectors of the activations."""

    def basis(z: np.ndarray) -> np.ndarray:
        left, spread, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
        share = np.cumsum(spread**2) / np.sum(spread**2)
        return left[:, : int(np.argmax(share >= 0.99)) + 1]

    return float(np.linalg.svd(basis(x).T @ basis(y), compute_uv=False).mean())


def null_scores(store: Store) -> dict[str, dict[tuple[str, int, int], float]]:
    """By method and neuron, of the one comparison of a store: each line of `rankings` has one."""
    key = "run_id, model, component, layer, neuron, method, params"
    found: dict[str, dict[tuple[str, int, int], float]] = {}
    joined = rows(store, f"SELECT * FROM rankings JOIN match_nulls USING ({key}) WHERE concept IS NULL")
    for row in joined:
        found.setdefault(row["method"], {})[row["component"], row["layer"], row["neuron"]] = row["null_score"]
    counts = rows(store, "SELECT (SELECT count(*) FROM rankings) AS a, (SELECT count(*) FROM match_nulls) AS b")
    assert counts == [{"a": len(joined), "b": len(joined)}]
    return found


def test_rankings_and_similarities_equal_numpy(models: tuple[Finished, Finished], copy: Store) -> None:
    run(copy, executor_mb=64, **{"with": ["other"]})
    words = words_of(models[0]) & words_of(models[1])
    assert 100 < len(words) < len(words_of(models[0]))
    x, y = (values(found, words) for found in models)
    order = shuffled(copy, models[0].plan, ["other"])
    all_x, all_y = (np.concatenate(list(found.values()), axis=1) for found in (x, y))
    r, null = correlation(all_x, all_y), correlation(all_x, all_y[order])
    names = [f"other:{c}:{layer}:{n}" for (c, layer), m in y.items() for n in range(m.shape[1])]
    neurons = [(c, layer, n) for (c, layer), m in x.items() for n in range(m.shape[1])]
    found = {method: {} for method in ("maxcorr", "mincorr", "linreg", "svcca", "pwcca")}
    for row in rows(copy, "SELECT * FROM rankings"):
        found[row["method"]][row["component"], row["layer"], row["neuron"]] = row
        assert (row["concept"], row["n_pos"], row["unit"], row["n_rows"]) == (None, None, "word", len(words))
    nulls = null_scores(copy)
    for method in ("maxcorr", "mincorr"):
        for number, neuron in enumerate(neurons):
            best = int(np.abs(r[number]).argmax())
            row = found[method][neuron]
            assert row["score"] == pytest.approx(abs(r[number, best]), abs=1e-9)
            assert (row["partner"], row["sign"]) == (names[best], np.sign(r[number, best]))
        np.testing.assert_allclose([nulls[method][n] for n in neurons], np.abs(null).max(axis=1), atol=1e-9)
        params = json.loads(found[method][neurons[0]]["params"])
        assert params["null_median"] == pytest.approx(np.median(np.abs(null).max(axis=1)), abs=1e-9)
        assert params["null_max"] == pytest.approx(np.abs(null).max(), abs=1e-9)
        assert params["null_max"] == pytest.approx(maxcorr(all_x, [all_y[order]]).abs_r.max(), abs=1e-9)
    expected = r2(all_x, all_y)
    scores = [found["linreg"][neuron]["score"] for neuron in neurons]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert {row["partner"] for row in found["linreg"].values()} == {"other"}
    params = json.loads(found["linreg"][neurons[0]]["params"])
    assert params["rank"] == np.linalg.matrix_rank(all_y - all_y.mean(0), rtol=1e-6)
    assert params["null_median"] == pytest.approx(np.median(r2(all_x, all_y[order])), abs=1e-6)
    np.testing.assert_allclose([nulls["linreg"][n] for n in neurons], r2(all_x, all_y[order]), atol=1e-6)
    for by_neuron in found.values():
        ranked = sorted(by_neuron.values(), key=lambda row: row["rank"])
        assert [row["rank"] for row in ranked] == list(range(1, len(neurons) + 1))
        assert all(a["score"] >= b["score"] for a, b in pairwise(ranked))
        assert all(0 <= row["score"] <= 1 for row in ranked)
    for row in rows(copy, "SELECT * FROM layer_similarity"):
        a, b = x[row["component"], row["layer"]], y[row["partner_component"], row["partner_layer"]]
        for name, other in (("value", b), ("null_value", b[order])):
            wanted = {
                "maxcorr": lambda: np.median(np.abs(correlation(a, other)).max(axis=1)),  # noqa: B023
                "linreg": lambda: np.median(r2(a, other)),  # noqa: B023
                "cka": lambda: brute_cka(a, other, debiased=False),  # noqa: B023
                "cka_debiased": lambda: brute_cka(a, other, debiased=True),  # noqa: B023
                "svcca": lambda: brute_svcca(a, other),  # noqa: B023
            }.get(row["measure"])
            if wanted is not None:
                assert row[name] == pytest.approx(wanted(), abs=1e-6), (row["measure"], name)
    for method, of_arrays in (("svcca", svcca), ("pwcca", pwcca)):
        weights = {
            b: np.concatenate([of_arrays(matrix, other).weights_a for matrix in x.values()]) for b, other in y.items()
        }
        best = np.max(list(weights.values()), axis=0)
        best_null = np.max(
            [
                np.concatenate([of_arrays(matrix, other[order]).weights_a for matrix in x.values()])
                for other in y.values()
            ],
            axis=0,
        )
        np.testing.assert_allclose([nulls[method][n] for n in neurons], best_null, atol=1e-6)
        for number, neuron in enumerate(neurons):
            row = found[method][neuron]
            model, component, layer = row["partner"].split(":")
            assert row["score"] == pytest.approx(best[number], abs=1e-6)
            assert (model, weights[component, int(layer)][number]) == ("other", pytest.approx(best[number], abs=1e-6))
    measures = Counter(row["measure"] for row in rows(copy, "SELECT measure FROM layer_similarity"))
    assert measures == dict.fromkeys(("maxcorr", "linreg", "svcca", "pwcca", "cka", "cka_debiased"), len(x) * len(y))


def test_the_null_of_arrays_is_that_of_a_shard(models: tuple[Finished, Finished]) -> None:
    for n in (2, 5, 64, 700):
        np.testing.assert_array_equal(array_null(np.arange(n), 3), null_order(n, 3, models[0].plan.shards[0]))


def test_a_model_beside_itself_is_the_same_neuron_for_neuron(copy: Store) -> None:
    report = run(copy, **{"with": ["tiny"]})
    for row in rows(copy, "SELECT * FROM rankings"):
        if row["method"] in ("maxcorr", "mincorr"):
            own = f"tiny:{row['component']}:{row['layer']}:{row['neuron']}"
            assert (row["score"], row["partner"], row["sign"]) == (1, own, 1)
        else:
            # svcca leaves 1 % of the variance out
            assert row["score"] == pytest.approx(1, abs=1e-6 if row["method"] != "svcca" else 0.3)
    for row in rows(copy, "SELECT * FROM layer_similarity"):
        is_same = (row["component"], row["layer"]) == (row["partner_component"], row["partner_layer"])
        assert (row["partner_model"], row["partner_store"]) == ("tiny", None)
        if is_same:
            assert row["value"] == pytest.approx(1, abs=1e-6)
        elif row["measure"].startswith("cka"):
            assert row["value"] < 0.999
        assert row["null_value"] < 0.9
    assert any("the same layer and index: 100.0% of neurons" in line for line in report.lines)


def test_products_in_float32_are_near_and_know_a_neuron_again(copy: Store) -> None:
    query = "SELECT * EXCLUDE (run_id, model, params, n_rows) FROM layer_similarity ORDER BY ALL"
    run(copy, **{"with": ["other"]}, layers=[1])
    exact = rows(copy, query)
    run(copy, **{"with": ["other"]}, layers=[1], precision="float32")
    for rough, row in zip(rows(copy, query), exact, strict=True):
        assert rough.keys() == row.keys()
        tolerance = 0.05 if row["measure"] in ("linreg", "pwcca", "svcca") else 1e-5
        assert rough["value"] == pytest.approx(row["value"], abs=tolerance), row["measure"]
    run(copy, **{"with": ["tiny"]}, precision="float32", methods=["maxcorr"])
    assert rows(copy, "SELECT DISTINCT score FROM rankings") == [{"score": 1.0}]


def test_several_models_of_two_stores(
    models: tuple[Finished, Finished], copy: Store, inputs: Inputs, tmp_path: Path
) -> None:
    """MaxCorr and MinCorr go over all others; a checkpoint with the same alias is told apart by its store."""
    train, test = (numbered(path) for path in write_corpus(tmp_path / "corpus"))
    save_model(tmp_path / "tiny", "bert", "wordpiece", seed=3)
    there = plan_only(Inputs(train, test, tmp_path / "tiny").config(tmp_path / "there", dump=LAYERS))
    dump(there.plan, there.store, LocalExecutor(), Silent())
    methods = ["maxcorr", "mincorr", "cka"]
    run(copy, **{"with": ["other", str(tmp_path / "there")]}, methods=methods)
    words = words_of(models[0]) & words_of(models[1]) & words_of(there)
    x, y, z = (values(found, words) for found in (*models, there))
    all_x = np.concatenate(list(x.values()), axis=1)
    bests = [np.abs(correlation(all_x, np.concatenate(list(w.values()), axis=1))).max(axis=1) for w in (y, z)]
    place = {
        (c, layer, n): i for i, (c, layer, n) in enumerate((*k, n) for k, m in x.items() for n in range(m.shape[1]))
    }
    seen = set()
    for row in rows(copy, "SELECT * FROM rankings"):
        pair = np.array([best[place[row["component"], row["layer"], row["neuron"]]] for best in bests])
        model = ["other", f"{there.store.url}::tiny"][
            int(pair.argmax() if row["method"] == "maxcorr" else pair.argmin())
        ]
        assert row["score"] == pytest.approx(pair.max() if row["method"] == "maxcorr" else pair.min(), abs=1e-9)
        assert row["partner"].startswith(f"{model}:")
        seen.add((row["method"], model))
    assert len(seen) == 4
    stores = {(row["partner_model"], row["partner_store"]) for row in rows(copy, "SELECT * FROM layer_similarity")}
    assert stores == {("other", None), ("tiny", there.store.url)}
    run(copy, **{"with": [f"{tmp_path / 'there'}::tiny"]}, methods=["cka"])
    assert rows(copy, "SELECT * FROM rankings") == rows(copy, "SELECT * FROM match_nulls") == []
    assert {row["partner_store"] for row in rows(copy, "SELECT * FROM layer_similarity")} == {there.store.url}


def small_import(store: Path, columns: np.ndarray, model: str) -> Store:
    """A model of given values (T, N) at some words of documents with the same names."""
    store.mkdir(parents=True)
    values, labels = Case(columns, make_case(len(columns)).table).save(store.parent)
    run_import(store, values, labels=labels, model=model)
    return Store.open(str(store))


def test_constant_neurons_are_null_and_few_rows_are_flagged(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 12)), rng.normal(size=(30, 40)) + 300
    x[:, 4], y[:, 7] = 5.0, 0.0
    y[:, 9] = -x[:, 0]
    ours, theirs = small_import(tmp_path / "a" / "s", x, "mine"), small_import(tmp_path / "b" / "s", y, "theirs")
    run(ours, model="mine", **{"with": [theirs.url]})
    found = rows(ours, "SELECT * FROM rankings")
    constant = [row for row in found if row["neuron"] == 4]
    assert len(constant) == 5
    assert {row["score"] for row in constant} == {None}
    assert {row["rank"] for row in constant} == {12}
    assert all(row["partner"] in (None, "theirs") for row in constant)
    first = next(row for row in found if row["method"] == "maxcorr" and row["neuron"] == 0)
    assert (first["score"], first["sign"], first["partner"]) == (pytest.approx(1), -1, "theirs:mlp:3:9")
    assert not any(row["partner"] == "theirs:mlp:3:7" for row in found)
    for row in found:
        if row["method"] in ("linreg", "svcca", "pwcca"):
            assert json.loads(row["params"])["trivial"]
    for row in rows(ours, "SELECT * FROM layer_similarity"):
        assert json.loads(row["params"]).get("trivial", False) == (row["measure"] in ("linreg", "svcca", "pwcca"))


def test_corpora_without_a_word_in_common(copy: Store, tmp_path: Path) -> None:
    theirs = small_import(tmp_path / "b" / "s", np.random.default_rng(0).normal(size=(30, 3)), "theirs")
    before = copy.manifest().number
    with pytest.raises(CorpusError, match=r"0 words aligned; of tiny [\d,]+ .*theirs 30 \(30 unaligned\)"):
        run(copy, **{"with": [theirs.url]})
    assert copy.manifest().number == before


@pytest.mark.slow  # that tiles have the same bits is tested in test_run_moment_tiles.py
def test_however_it_was_computed_the_tables_have_the_same_bytes(
    copy: Store, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"with": ["tiny"], "layers": [1], "columns": ["length"]}
    others = [Store.open(str(shutil.copytree(copy.url, tmp_path / name))) for name in ("ray", "killed")]
    run(copy, **settings)
    run(others[0], RayExecutor(workers=2), **settings)
    process, done = PairWorker.process, []

    def fails(self: PairWorker, task: Any, attempt: int) -> dict[str, Any]:
        done.append(task.key)
        if len(done) > 2:
            raise MemoryError("gone")
        return process(self, task, attempt)

    monkeypatch.setattr(PairWorker, "process", fails)
    with pytest.raises(IncompleteError, match="gone"):
        run(others[1], **settings)
    assert not others[1].files("rankings")
    monkeypatch.setattr(PairWorker, "process", process)
    run(others[1], **settings)
    made = written(copy)
    assert len(made) == 4
    assert [written(other) for other in others] == [made, made]
    monkeypatch.setattr("pipeline.run.fold.run_tasks", lambda *given: given[4] and pytest.fail("computed again"))
    report = run(copy, **settings)
    assert written(copy) == made
    assert any("wrote" in line for line in report.lines)


def written(store: Store) -> dict[str, bytes]:
    root = Path(store.url)
    names = ("rankings", "match_nulls", "layer_similarity", "column_correlations")
    return {str(p.relative_to(root)): p.read_bytes() for name in names for p in root.glob(f"{name}/*/*.parquet")}


def test_numbers_of_words(models: tuple[Finished, Finished], copy: Store) -> None:
    report = run(copy, columns=["length", "position", "frequency", "xpos"], executor_mb=16)
    plan = models[0].plan
    words = words_of(models[0])
    x = values(models[0], words)
    listed = ", ".join(map(str, sorted(words)))
    table = rows(copy, f"SELECT word, position, xpos FROM words WHERE word_id IN ({listed}) ORDER BY word_id")
    counts = Counter(row["word"] for row in rows(copy, "SELECT word FROM words"))
    numbers = {
        "length": [len(row["word"]) for row in table],
        "position": [row["position"] for row in table],
        "frequency": [math.log(counts[row["word"]]) for row in table],
        "xpos": [float("nan") if row["xpos"] in (None, "_") else float(row["xpos"]) for row in table],
    }
    found = rows(copy, "SELECT * FROM column_correlations")
    assert len(found) == 4 * sum(m.shape[1] for m in x.values())
    n_missing = 0
    of_arrays = column_correlations(np.concatenate(list(x.values()), axis=1), np.column_stack(list(numbers.values())))
    ordered = rows(copy, "SELECT r FROM column_correlations ORDER BY word_column, component DESC, layer, neuron")
    by_name = np.argsort(list(numbers))
    np.testing.assert_allclose([row["r"] for row in ordered], of_arrays.r[by_name].ravel(), atol=1e-9)
    for name, column in numbers.items():
        given = ~np.isnan(column)
        n_missing += int((~given).sum())
        ours = [row for row in found if row["word_column"] == name]
        for row in ours:
            r = np.corrcoef(x[row["component"], row["layer"]][given, row["neuron"]], np.array(column)[given])[0, 1]
            assert row["r"] == pytest.approx(r, abs=1e-9)
            assert (row["n_rows"], row["model"]) == (given.sum(), plan.model)
            assert row["null_r"] != row["r"]
        size = [abs(row["r"]) for row in sorted(ours, key=lambda row: row["rank"])]
        assert size == sorted(size, reverse=True)
        assert abs(np.mean([row["null_r"] for row in ours])) < 0.2
    assert n_missing > 10
    assert any(line.startswith("xpos: ") and f"{n_missing:,} without it left out" in line for line in report.lines)
    assert rows(copy, "SELECT * FROM rankings") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"nothing to correlate with; name another model \(--with"),
        ({"with": ["nobody"]}, r"'nobody' is neither a model of this store, which has other, tiny, nor the path"),
        ({"with": ["other", "other"]}, "'other' is named twice"),
        ({"with": ["other"], "layers": [9]}, r"nothing of model 'tiny' is left by layers 9; it has layers 1, 2"),
        ({"with": ["other"], "with_layers": [9]}, r"nothing of model 'other' is left by with_layers 9"),
        ({"columns": ["surprisal"]}, r"'surprisal' is no number of words here; there are length, position, frequency"),
        ({"columns": ["upos"]}, r"'upos' has the value '\w+', which is no finite number"),
        ({"columns": ["length", "length"]}, "'length' is named twice"),
    ],
)
def test_wrong_settings_say_what_there_is(copy: Store, settings: dict[str, Any], message: str) -> None:
    before = copy.manifest().number
    with pytest.raises(ConfigError, match=message):
        run(copy, **settings)
    assert copy.manifest().number == before


def test_a_store_of_several_models_wants_one_named(copy: Store, models: tuple[Finished, Finished]) -> None:
    url = models[0].store.url
    with pytest.raises(ConfigError, match=f"several models; name one of {url}::other, {url}::tiny"):
        run(copy, **{"with": [url]})
    with pytest.raises(ConfigError, match="has no model 'x'; it has other, tiny"):
        run(copy, **{"with": [f"{url}::x"]})


def test_matrices_beyond_the_memory_are_refused_before_any_work(copy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.model_comparison._REGRESSION_MATRICES", 10**6)
    with pytest.raises(ConfigError, match=r"`linreg` on the \d+ neurons of other takes .* --memory-mb \d+") as raised:
        run(copy, **{"with": ["other"]})
    assert "--layers" in str(raised.value)
    assert not list(Path(copy.url).glob("receipts/aligned-*"))
    run(copy, **{"with": ["other"]}, methods=["maxcorr"], layers=[1])
    assert rows(copy, "SELECT DISTINCT method FROM rankings") == [{"method": "maxcorr"}]


def test_searches_by_concepts_and_across_models_stand_side_by_side(copy: Store) -> None:
    plan = load_plan(copy, "tiny")
    count = "SELECT method, count(*) n, count(concept) n_concepts FROM rankings GROUP BY method ORDER BY method"

    def found() -> dict[str, int]:
        return {row["method"]: row["n_concepts"] for row in rows(copy, count)}

    search(plan, copy, LocalExecutor(), Silent())
    by_concept = found()
    assert by_concept["ap"] > 0
    run(copy, **{"with": ["other"]}, layers=[1], methods=["maxcorr", "linreg"])
    both = {**by_concept, "maxcorr": 0, "linreg": 0}
    assert found() == both
    narrower = plan.config.search.model_copy(update={"methods": ("ap",)})
    search(plan.with_config(plan.config.model_copy(update={"search": narrower})), copy, LocalExecutor(), Silent())
    assert found() == {"ap": by_concept["ap"], "maxcorr": 0, "linreg": 0}
    run(copy, **{"with": ["other"]}, layers=[1], methods=["mincorr"])
    assert found() == {"ap": by_concept["ap"], "mincorr": 0}
    snapshot = publish(copy)
    with duckdb.connect(f"{copy.url}/snapshots/{snapshot}/neuronmill.duckdb", read_only=True) as connection:
        (n,) = connection.execute("SELECT count(*) FROM rankings WHERE method = 'mincorr'").fetchall()[0]
        (n_nulls,) = connection.execute("SELECT count(*) FROM match_nulls").fetchall()[0]
        (n_layers,) = connection.execute("SELECT count(*) FROM layer_similarity").fetchall()[0]
    assert (n, n_nulls, n_layers) == (40, 40, 4)


PARTS = ("tiles", "aligned", "norms", "layers", "pairs", "linreg", "numbers", "columns")


def test_what_is_damaged_is_made_again(copy: Store) -> None:
    run(copy, **{"with": ["other"]}, layers=[1], columns=["length"])
    root = Path(copy.url)
    files = [next(iter(sorted(root.glob(f"states/*/{part}-*/*.npz")))) for part in PARTS]
    files += [
        next(iter(root.glob(f"{name}/*/*.parquet"))) for name in ("rankings", "match_nulls", "column_correlations")
    ]
    before = [file.read_bytes() for file in files]
    for file in files:
        (flip if file.suffix == ".npz" else cut)(file)
    report = repair(copy, verify(copy), LocalExecutor(), Silent())
    assert report.failed == {}
    assert [file.read_bytes() for file in files] == before
    assert verify(copy) == []


def test_earlier_correlations_are_superseded_with_their_parts(copy: Store) -> None:
    for seed in (1, 2):
        run(copy, **{"with": ["other"]}, layers=[1], columns=["length"], null=seed)
    root = Path(copy.url)
    kept = written(copy)
    assert len(kept) == 8
    plan = load_plan(copy, "tiny")
    live = {part for analysis in analyses(plan, copy) for part in analysis.parts}
    options = GcOptions(superseded=True, keep_snapshots=1, live_stages=live_stages(copy))
    collect(copy.storage, options, now=time.time() + 2 * 86_400)
    assert len(written(copy)) == 4
    for part in PARTS:
        stages = {path.parent.name for path in root.glob(f"receipts/{part}-*/*.json")}
        # words are aligned, and have numbers, whatever the null
        assert len(stages) == 1, part
        assert stages <= live, part
    assert verify(copy) == []
    assert {json.loads(row["params"])["seed"] for row in rows(copy, "SELECT params FROM rankings")} == {2}


def test_a_lost_manifest_is_registered_again(copy: Store) -> None:
    plan = with_section(load_plan(copy, "tiny"), **{"with": ["other"], "layers": [1], "columns": ["length"]})
    correlate(plan, copy, LocalExecutor(), Silent())
    save_settings(copy, plan)
    before = {(table, scope) for table, scopes in copy.manifest().tables.items() for scope in scopes}
    for table, scope in before:
        if table in ("rankings", "match_nulls", "layer_similarity", "column_correlations"):
            copy.advance(table, scope, ())
    reregister(copy, plan, LocalExecutor(), Silent())
    assert {(table, scope) for table, scopes in copy.manifest().tables.items() for scope in scopes} == before


def test_another_import_takes_the_rankings_of_the_model_before(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(30, 3))
    store = small_import(tmp_path / "a" / "s", x, "mine")
    run(store, model="mine", **{"with": ["mine"]}, methods=["maxcorr", "cka"])
    first = load_plan(store, "mine")
    assert rows(store, "SELECT DISTINCT run_id FROM rankings") == [{"run_id": first.run_id}]
    run_import(tmp_path / "a" / "s", tmp_path / "a" / "X.npy", labels=tmp_path / "a" / "L.tsv", layers=(4,))
    assert load_plan(store, "mine").run_id != first.run_id
    assert rows(store, "SELECT * FROM rankings") == rows(store, "SELECT * FROM layer_similarity") == []
