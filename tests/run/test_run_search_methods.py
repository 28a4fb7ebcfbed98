"""All methods from two folds, on rows as they were dumped or pooled, equal to the definitions on values of a reader."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from import_case import run_import, write_tsv
from sklearn.metrics import average_precision_score
from tiny_run import Finished, tables

from pipeline.run.fold import ActivationFold, Batch, NeuronTask
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.search_rows import RowRule, SplitLabels
from pipeline.run.search_workers import SearchJob
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.store.store import Store
from schemas.analysis_config import METHODS
from schemas.errors import ConfigError, IncompleteError

FIELDS = "component, layer, neuron, concept, method, score, sign, threshold, heldout_score, n_rows, n_pos, unit, params"


def searched(found: Finished, **settings: Any) -> pd.DataFrame:
    """The rankings by these settings."""
    config = found.plan.config
    given = config.search.model_copy(update={"keep": "all", **settings})
    plan = found.plan.with_config(config.model_copy(update={"search": given}))
    search(plan, found.store, LocalExecutor(), Silent())
    with tables(found.store) as read:
        rows = read.rows(f"SELECT {FIELDS} FROM rankings ORDER BY ALL")
    frame = pd.DataFrame(rows, columns=FIELDS.split(", "))
    return frame.astype(dict.fromkeys(("score", "threshold", "heldout_score"), float))


@pytest.fixture(scope="module")
def searchable(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The session's store once more, for rankings of one's own."""
    folder = tmp_path_factory.mktemp("searchable") / "store"
    shutil.copytree(finished.store.url, folder)
    return replace(finished, store=Store.open(str(folder)))


@pytest.fixture(scope="module")
def values(searchable: Finished) -> pd.DataFrame:
    """`mlp` layer 1 of the counted train rows, with words, sentences and labels."""
    with tables(searchable.store) as read:
        row_ids, x = read.activations("mlp", 1)
        rows = read.rows("SELECT sentence_id, word_id, split, is_counted FROM rows ORDER BY row_id")
        labels = read.labels(row_ids)
    frame = pd.DataFrame(rows, columns=["sentence", "word", "split", "counted"])
    frame = pd.concat([frame, pd.DataFrame(x), pd.DataFrame(labels)], axis=1)
    return frame[frame["counted"] & (frame["split"] == "train")]


@pytest.fixture(scope="module")
def everything(searchable: Finished) -> pd.DataFrame:
    return searched(searchable, methods=METHODS)


def test_every_method_is_ranked(everything: pd.DataFrame, values: pd.DataFrame) -> None:
    assert set(everything["method"]) == set(METHODS)
    of_layer = everything[(everything["component"] == "mlp") & (everything["layer"] == 1)]
    for neuron, concept in itertools.product((0, 7), ("upos=NOUN", "long")):
        x, y = values[neuron].to_numpy(np.float64), values[concept].to_numpy(bool)
        found = of_layer[(of_layer["neuron"] == neuron) & (of_layer["concept"] == concept)].set_index("method")
        difference = x[y].mean() - x[~y].mean()
        t = scipy.stats.ttest_ind(x[y], x[~y], equal_var=False).statistic
        expected = {
            "selectivity": difference / np.ptp(x),
            "welch_t": t,
            "pearson": scipy.stats.pearsonr(x, y.astype(float)).statistic,
        }
        for method, score in expected.items():
            assert found.loc[method, "score"] == pytest.approx(abs(score), rel=1e-5)
            assert found.loc[method, "sign"] == np.sign(score)
        iou = found.loc["best_iou", "score"]
        assert found.loc["f1", "score"] == pytest.approx(2 * iou / (1 + iou), rel=1e-12)
        assert found.loc["f1", "threshold"] == found.loc["best_iou", "threshold"]
        assert 0 <= found.loc["mi", "score"] <= 1


def test_probeless_sees_all_classes_of_the_layer(searchable: Finished, values: pd.DataFrame) -> None:
    """Also those that were not asked for."""
    found = searched(
        searchable, methods=("probeless",), concepts=("upos=NOUN", "long"), layers=(1,), components=("mlp",)
    )
    assert set(found["concept"]) == {"upos=NOUN", "long", "upos=*"}
    classes = [name for name in values if str(name).startswith("upos=") and values[name].any()]
    means = {name: values.loc[values[name], 3].mean() for name in classes}
    of_neuron = found[found["neuron"] == 3].set_index("concept")["score"]
    noun = sum(abs(means["upos=NOUN"] - mean) for mean in means.values())
    assert of_neuron["upos=NOUN"] == pytest.approx(noun, rel=1e-5)
    pairs = sum(abs(a - b) for a, b in itertools.combinations(means.values(), 2))
    assert of_neuron["upos=*"] == pytest.approx(pairs, rel=1e-5)
    difference = values.loc[values["long"], 3].mean() - values.loc[~values["long"], 3].mean()
    assert of_neuron["long"] == pytest.approx(abs(difference), rel=1e-5)


def test_another_method_reads_no_activations(
    searchable: Finished, everything: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does another choice of methods, layers or the number kept."""

    def fails(self: ActivationFold, task: NeuronTask) -> Iterator[Batch]:
        raise AssertionError("activations are read")

    monkeypatch.setattr(ActivationFold, "batches", fails)
    for method in ("f1", "welch_t", "mi"):
        again = searched(searchable, methods=(method,), layers=(1,))
        expected = everything[(everything["method"] == method) & (everything["layer"] == 1)]
        pd.testing.assert_frame_equal(again, expected.reset_index(drop=True))
    two = searched(searchable, methods=("ap",), keep=2)
    assert (two.groupby("concept").size() == 2).all()


def test_some_neurons_score_as_among_all(searchable: Finished, everything: pd.DataFrame) -> None:
    some = searched(searchable, methods=("ap", "cohen_d"), neurons=(2, 3, 9, 10**6))
    expected = everything[everything["neuron"].isin([2, 3, 9]) & everything["method"].isin(["ap", "cohen_d"])]
    pd.testing.assert_frame_equal(some, expected.reset_index(drop=True))
    with pytest.raises(ConfigError, match=r"search\.neurons"):
        searched(searchable, neurons=(10**6,))


@pytest.mark.parametrize(("unit", "pooling"), [
    ("word", None), ("word", "first"), ("word", "max"), ("word", "mean"), ("sentence", None), ("sentence", "mean"),
])  # fmt: skip
def test_pooled_rows(searchable: Finished, values: pd.DataFrame, unit: str, pooling: str | None) -> None:
    """The values of a word's tokens or a sentence's become one, and it carries whatever one of them carries."""
    found = searched(searchable, methods=("ap", "mean_diff"), unit=unit, pooling=pooling, layers=(1,))
    how = pooling or {"word": "last", "sentence": "max"}[unit]
    groups = values.groupby(unit)
    named = [name for name in values if str(name).startswith("upos=")]
    partial = [name for name in (*named, "early", "long") if 0 < groups[name].any().sum() < len(groups)]
    assert len(partial) > 1
    for neuron, concept in zip((0, 5), partial, strict=False):
        x, y = groups[neuron].agg(how).to_numpy(np.float64), groups[concept].any().to_numpy()
        of_pair = found[(found["component"] == "mlp") & (found["neuron"] == neuron) & (found["concept"] == concept)]
        of_pair = of_pair.set_index("method")
        expected = max(
            average_precision_score(y, x.astype(np.float32)), average_precision_score(y, -x.astype(np.float32))
        )
        assert of_pair.loc["ap", "score"] == pytest.approx(expected, abs=1e-9)
        assert of_pair.loc["mean_diff", "score"] == pytest.approx(abs(x[y].mean() - x[~y].mean()), rel=1e-5)
        assert of_pair.loc["ap", ["n_rows", "n_pos", "unit"]].tolist() == [len(x), y.sum(), unit]
        assert f'"search_pooling": "{how}"' in of_pair.loc["ap", "params"]


def test_a_threshold_instead_of_a_quantile(searchable: Finished, values: pd.DataFrame) -> None:
    found = searched(searchable, methods=("iou",), threshold=0.25, layers=(1,), components=("mlp",))
    assert set(found["params"]) == {'{"label_on": "all", "threshold": 0.25}'}
    for neuron in (0, 5):
        x, y = values[neuron].to_numpy(np.float64), values["long"].to_numpy(bool)
        scores = [((s * x > 0.25) & y).sum() / ((s * x > 0.25) | y).sum() for s in (1, -1)]
        of_pair = found[(found["neuron"] == neuron) & (found["concept"] == "long")]
        assert of_pair["score"].tolist() == [pytest.approx(max(scores), abs=1e-12)]
        assert of_pair["threshold"].tolist() == [0.25 if of_pair["sign"].item() == 1 else -0.25]


def test_units_that_are_not_there(searchable: Finished) -> None:
    with pytest.raises(ConfigError, match=r"search\.pooling: rows are tokens already"):
        searched(searchable, pooling="max")


def null_checks(found: Finished) -> pd.DataFrame:
    with tables(found.store) as read:
        fields = "concept, method, n_neurons, best_score, null_best, n_tested, n_tested_null, n_above_null, n_survive"
        frame = pd.DataFrame(read.rows(f"SELECT {fields} FROM null_checks"), columns=fields.split(", "))
    return frame.astype(dict.fromkeys(fields.split(", ")[2:], float))


def test_labels_are_shuffled_inside_their_sentences(searchable: Finished) -> None:
    stage = next(stage for stage in (p.name for p in Path(searchable.store.url, "receipts").glob("labels-*")))
    names = ("upos=NOUN", "long")
    plain = SplitLabels(searchable.store, searchable.plan, stage, names, RowRule("token", None))
    shuffled = SplitLabels(searchable.store, searchable.plan, stage, names, RowRule("token", None, shuffle=3))
    n_moved = 0
    for shard in searchable.plan.shards:
        before, after = plain.load(shard).labels["all"], shuffled.load(shard).labels["all"]
        with tables(searchable.store) as read:
            found = read.rows(
                "SELECT sentence_id FROM rows WHERE is_counted AND row_id >= ? AND row_id < ? ORDER BY row_id",
                shard.first_row,
                shard.first_row + shard.n_rows,
            )
        sentences = np.array(found).ravel()
        for concept in range(2):
            rows = [labels.rows[labels.indptr[concept] : labels.indptr[concept + 1]] for labels in (before, after)]
            assert sorted(sentences[rows[0]]) == sorted(sentences[rows[1]])
            n_moved += len(set(rows[0]) - set(rows[1]))
        again = shuffled.load(shard).labels["all"]
        np.testing.assert_array_equal(again.rows, after.rows)
    assert n_moved > 10


def test_the_null_beside_the_scores(searchable: Finished) -> None:
    found = searched(searchable, methods=("ap", "welch_t", "probeless"), null=5, layers=(1,))
    checks = null_checks(searchable)
    ranked = found.groupby(["method", "concept"])["score"].agg(["max", "count"])
    assert len(checks) == len(ranked)
    for check in checks.itertuples():
        expected = ranked.loc[(check.method, check.concept)]
        np.testing.assert_equal((check.best_score, check.n_neurons), (expected["max"], expected["count"]))
        assert np.isnan(check.n_survive) or check.n_survive <= check.n_neurons
        above = found[(found["method"] == check.method) & (found["concept"] == check.concept)]["score"]
        assert np.isnan(check.n_above_null) or check.n_above_null == (above > check.null_best).sum()
    assert checks[checks["concept"] == "upos=*"]["n_tested"].isna().all()
    defined = checks[(checks["n_neurons"] > 0) & checks["null_best"].notna()]
    assert len(defined) > 3
    assert (defined["null_best"] != defined["best_score"]).all()
    searched(searchable, methods=("ap",), layers=(1,))
    assert null_checks(searchable).empty
    with pytest.raises(ConfigError, match=r"search\.null"):
        searched(searchable, unit="sentence", null=0)


def test_a_null_that_dies_leaves_no_table_of_another_search(
    searchable: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(searchable, methods=("ap",), null=5, layers=(1,))
    before = null_checks(searchable)
    load = RowRule.shuffled

    def fails(self: RowRule, labels: LabelMatrix, sentences: np.ndarray) -> LabelMatrix:
        if self.shuffle is not None:
            raise MemoryError("gone")
        return load(self, labels, sentences)

    monkeypatch.setattr(RowRule, "shuffled", fails)
    with pytest.raises(IncompleteError, match="gone"):
        searched(searchable, methods=("auroc",), null=6, layers=(1,))
    pd.testing.assert_frame_equal(null_checks(searchable), before)
    with tables(searchable.store) as read:
        assert read.rows("SELECT DISTINCT method FROM rankings") == [("ap",)]


def test_sentences_of_one_row_cannot_be_shuffled(tmp_path: Path) -> None:
    """An import whose rows are a sentence each."""
    np.save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((40, 3)).astype(np.float16))
    labels = write_tsv(tmp_path / "L.tsv", {"odd": [str(row % 2) for row in range(40)]})
    run_import(tmp_path / "store", tmp_path / "X.npy", labels=labels)
    store = Store.open(str(tmp_path / "store"))
    with pytest.raises(ConfigError, match=r"search\.null: shuffling inside sentences changes nothing"):
        searched(Finished(store, load_plan(store)), null=0)


def test_scores_of_a_device_are_those_of_the_kernels(
    searchable: Finished, everything: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch, on the processor where there is no other device."""
    if torch.cuda.is_available():
        found = searched(searchable, methods=("ap", "iou", "mi"), device="cuda")
    else:
        with pytest.raises(IncompleteError, match=r"search\.device: there is no CUDA device here"):
            searched(searchable, methods=("ap",), device="cuda", alpha=0.01)
        monkeypatch.setattr(SearchJob, "device", "cpu:0")
        found = searched(searchable, methods=("ap", "iou", "mi"), device="cuda")
    expected = everything[everything["method"].isin(["ap", "iou", "mi"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
