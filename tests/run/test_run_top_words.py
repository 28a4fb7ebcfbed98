"""Top words end to end: equal to pandas on the values that a reader of the store gets, however the work was placed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from damage import unlink
from tiny_run import Finished, Silent, checksums, plan_only, tables

from pipeline.run.dump import dump
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.repair import repair
from pipeline.run.top_words import top_words, words_stage
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import ConfigError


@pytest.fixture(scope="module")
def dumped(inputs, tmp_path_factory) -> Finished:
    """A small dump, whose copies are analysed."""
    folder = tmp_path_factory.mktemp("words") / "store"
    found = plan_only(inputs.config(folder, dump={"layers": [1, 2], "rows_per_shard": 300}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    return found


@pytest.fixture
def copy(dumped: Finished, tmp_path: Path) -> Finished:
    """A copy of it."""
    store = shutil.copytree(dumped.store.url, tmp_path / "store")
    return Finished(Store.open(str(store)), dumped.plan)


def with_words(found: Finished, **settings: object) -> Finished:
    """The plan with other settings of the words."""
    config = found.plan.config
    executor = config.executor.model_copy(update={"memory_mb": settings.pop("memory_mb", 512)})
    words = config.top_words.model_copy(update=settings)
    plan = found.plan.with_config(config.model_copy(update={"top_words": words, "executor": executor}))
    return Finished(found.store, plan)


def run_words(found: Finished, executor: object = None) -> int:
    return top_words(found.plan, found.store, executor or LocalExecutor(), Silent())


@pytest.mark.parametrize("ignore_case", [False, True])
def test_words_equal_a_groupby_over_words(copy, ignore_case):
    k = 4
    found = with_words(copy, k=k, min_count=6, ignore_case=ignore_case)
    assert run_words(found) > 0
    with tables(found.store) as read:
        row_ids, values = read.activations("mlp", 2)
        rows = read.connection.execute(
            "SELECT word_id, word FROM rows LEFT JOIN words USING (word_id) WHERE is_counted ORDER BY row_id"
        ).df()
        counted = dict(read.rows("SELECT row_id, is_counted FROM rows"))
        table = read.connection.execute("FROM top_words WHERE component = 'mlp' AND layer = 2 ORDER BY neuron").df()
    x = pd.DataFrame(values[[counted[row] for row in row_ids.tolist()]])
    words = x.groupby(rows["word_id"].to_numpy()).mean()
    types = rows.drop_duplicates("word_id").set_index("word_id")["word"].loc[words.index]
    types = types.str.lower() if ignore_case else types
    assert len(rows) > len(words)  # some words have several tokens
    of_type = words.groupby(types.to_numpy())
    n, mean, error = of_type.size(), of_type.mean(), of_type.sem()
    kept = n.index[n >= 6]
    assert 2 * k < len(kept) < len(n)
    assert set(table["neuron"]) == set(range(values.shape[1]))
    for neuron, of_neuron in table.groupby("neuron"):
        (shrinkage,), (neuron_mean,) = of_neuron["shrinkage"].unique(), of_neuron["neuron_mean"].unique()
        assert neuron_mean == pytest.approx(words[neuron].mean())
        score = ((mean[neuron] - neuron_mean) * n / (n + shrinkage))[kept]
        for tail, expected in (("top", score.sort_values(ascending=False)), ("bottom", score.sort_values())):
            of_tail = of_neuron[of_neuron["tail"] == tail].sort_values("rank")
            assert of_tail["word"].tolist() == expected.index[:k].tolist()
            assert of_tail["rank"].tolist() == list(range(1, k + 1))
            np.testing.assert_allclose(of_tail["score"], expected[:k])
            chosen = of_tail["word"]
            np.testing.assert_allclose(of_tail["mean"], mean[neuron][chosen])
            np.testing.assert_allclose(of_tail["standard_error"], error[neuron][chosen], rtol=1e-9)
            np.testing.assert_array_equal(of_tail["n_words"], n[chosen])


def test_the_same_bytes_on_any_executor_and_under_any_memory(dumped, tmp_path, ray_cluster):
    seen = []
    for name, executor, memory in (
        ("one", LocalExecutor(), 512),
        ("two", LocalExecutor(2), 16),
        ("ray", RayExecutor(2), 512),
    ):
        store = Store.open(str(shutil.copytree(dumped.store.url, tmp_path / name)))
        run_words(with_words(Finished(store, dumped.plan), memory_mb=memory), executor)
        (file,) = Path(store.url).glob("top_words/*/*.parquet")
        seen.append(file.read_bytes())
    assert seen[0] == seen[1] == seen[2]


def test_a_large_vocabulary_makes_small_tasks_or_an_error(copy, monkeypatch):
    small = with_words(copy, min_count=5, memory_mb=16)
    monkeypatch.setattr("pipeline.run.top_words._STATE_BYTES", 2**18)
    run_words(small)
    assert len(small.store.receipts(words_stage(small.plan))) > 20
    monkeypatch.setattr("pipeline.run.top_words._STATE_BYTES", 2**22)
    with pytest.raises(ConfigError, match=r"executor\.memory_mb: .* word types take"):
        run_words(with_words(copy, min_count=4, memory_mb=16))


def test_fewer_words_than_places_and_none_at_all(copy):
    found = with_words(copy, k=100, min_count=30, shrinkage=0.0)
    run_words(found)
    with tables(found.store) as read:
        [(most, lowest)] = read.rows("SELECT max(rank), min(n_words) FROM top_words")
        assert (most < 30, lowest >= 30) == (True, True)
        assert read.rows("SELECT DISTINCT round(score - (mean - neuron_mean), 12), shrinkage FROM top_words") == [
            (0, 0)
        ]
    with pytest.raises(ConfigError, match=r"top_words.min_count: none of \d+ words occurs 9999 times"):
        run_words(with_words(copy, min_count=9999))


def test_finished_work_is_kept_and_damage_is_repaired(copy):
    run_words(with_words(copy, k=2))
    root, before = Path(copy.store.url), checksums(copy.store.url)
    times = {file: file.stat().st_mtime_ns for file in root.glob("receipts/words-*/*")}
    run_words(with_words(copy, k=2))
    assert {file: file.stat().st_mtime_ns for file in root.glob("receipts/words-*/*")} == times
    publish(copy.store)
    for pattern in (
        "top_words/*/*.parquet",
        "states/*/words-*/vocabulary.parquet",
        "states/*/words-*/mlp-001-*.parquet",
    ):
        unlink(next(root.glob(pattern)))
    problems = verify(copy.store)
    assert len(problems) == 3
    assert repair(Store.open(copy.store.url), problems, LocalExecutor(), Silent()).failed == {}
    assert verify(Store.open(copy.store.url)) == []
    assert checksums(copy.store.url) == before


def test_words_of_earlier_settings_are_superseded(copy):
    for k in (2, 3):
        run_words(with_words(copy, k=k))
    options = GcOptions(older_than=0, superseded=True, live_stages=live_stages(copy.store))
    removed = {thing.path for thing in collect(copy.store.storage, options, dry_run=False, now=2e9).garbage}
    old, new = (words_stage(with_words(copy, k=k).plan) for k in (2, 3))
    assert any(path.startswith(f"receipts/{old}/") for path in removed)
    assert not any(new in path for path in removed)
    assert verify(copy.store) == []


def test_sentences_have_no_top_words(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store", dump={"unit": "sentence", "layers": [1]}))
    with pytest.raises(ConfigError, match="one row per sentence"):
        run_words(found)
