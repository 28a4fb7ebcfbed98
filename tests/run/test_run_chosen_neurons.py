"""Contexts and words of chosen neurons are those of all neurons, cut; earlier ones come back at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_run import Finished, Silent, run_stages, tables

from pipeline.run.compact import compact
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_choice import places_from_sql
from pipeline.run.neuron_contexts import contexts, contexts_stage
from pipeline.run.status import read_status
from pipeline.run.top_words import top_words
from pipeline.store.store import Store
from schemas.errors import ConfigError, QueryError

CHOSEN = {("mlp", 1, 0), ("mlp", 1, 5), ("mlp", 1, 6), ("mlp", 2, 11), *(("resid", 0, n) for n in (0, 3, 9))}
PLACES = ("mlp:1:5-6", "mlp:1:0", "resid:0:0", "resid:0:3", "mlp:2:11", "resid:0:9", "mlp:1:5")


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished store."""
    return Finished(Store.open(str(shutil.copytree(finished.store.url, tmp_path / "store"))), finished.plan)


class Said(Silent):
    """Keeps the summaries."""

    def __init__(self) -> None:
        self.text = ""

    def finish(self, summary: str) -> None:
        self.text = summary


def change(found: Finished, section: str, memory_mb: int = 512, **settings: object) -> Finished:
    """The plan with other settings."""
    config = found.plan.config
    changed = getattr(config, section).model_copy(update=settings)
    executor = config.executor.model_copy(update={"memory_mb": memory_mb})
    return Finished(
        found.store, found.plan.with_config(config.model_copy(update={section: changed, "executor": executor}))
    )


def rows(found: Finished, table: str) -> list[tuple]:
    with tables(found.store) as read:
        return read.rows(f"FROM {table} ORDER BY component, layer, neuron, tail, rank")


def of_chosen(every: list[tuple]) -> list[tuple]:
    return [row for row in every if row[2:5] in CHOSEN]


def test_contexts_of_chosen_neurons(copy):
    every, said = rows(copy, "contexts"), Said()
    some = change(copy, "contexts", neurons=PLACES)
    assert contexts(some.plan, some.store, LocalExecutor(), said) == len(CHOSEN)
    assert "in place of earlier ones; those are kept" in said.text
    assert rows(some, "contexts") == of_chosen(every)
    stage = contexts_stage(some.plan)
    assert len(some.store.receipts(stage)) == 3  # one reading per layer, not per neuron
    other_words = change(
        copy, "contexts", neurons=("resid:0:9", "resid:0:3", "resid:0:0", "mlp:2:11", "mlp:1:5-6", "mlp:1:0")
    )
    assert contexts_stage(other_words.plan) == stage != contexts_stage(copy.plan)
    times = {file: file.stat().st_mtime_ns for file in Path(copy.store.url).glob("receipts/contexts-*/*")}
    assert contexts(copy.plan, copy.store, LocalExecutor(), said) > len(CHOSEN)
    assert rows(copy, "contexts") == every
    assert {file: file.stat().st_mtime_ns for file in Path(copy.store.url).glob("receipts/contexts-*/*")} == times


def test_words_of_chosen_neurons(copy):
    top_words(copy.plan, copy.store, LocalExecutor(), Silent())
    every = rows(copy, "top_words")
    some = change(copy, "top_words", neurons=PLACES)
    assert top_words(some.plan, some.store, LocalExecutor(), Silent()) == len(CHOSEN)
    assert rows(some, "top_words") == of_chosen(every)


def test_whole_layers_in_a_compacted_store_under_little_memory(copy, monkeypatch):
    every = rows(copy, "contexts")
    compact(copy.plan, copy.store, LocalExecutor(), Silent())
    monkeypatch.setattr("pipeline.run.fold.MAX_NEURONS", 5)
    some = change(copy, "contexts", memory_mb=16, neurons=("resid:0-1", "mlp:2:3-9"))
    contexts(some.plan, some.store, LocalExecutor(), Silent())
    assert rows(some, "contexts") == [
        row
        for row in every
        if row[2:4] in {("resid", 0), ("resid", 1)} or (row[2:4] == ("mlp", 2) and 3 <= row[4] <= 9)
    ]


def test_status_counts_the_chosen_neurons(inputs, tmp_path):
    config = inputs.config(
        tmp_path / "store", contexts={"neurons": ["resid:0:2-4", "mlp:1:0"]}, dump={"layers": [0, 1]}
    )
    found = run_stages(config)
    (run,) = read_status(found.store).runs
    (stage,) = [stage for stage in run.stages if stage.stage == "contexts"]
    assert (stage.done, stage.total, stage.complete) == (4, 4, True)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("attn:1:0", "contexts.neurons: attn:1 was not dumped; there are resid:0, "),
        ("mlp:9", "mlp:9 was not dumped"),
        ("mlp:1:30-99999", "mlp:1:30-99999 was not dumped; mlp has neurons 0-"),
    ],
)
def test_neurons_that_were_not_dumped(place, said, copy):
    some = change(copy, "contexts", neurons=(place,))
    with pytest.raises(ConfigError, match=said):
        contexts(some.plan, some.store, LocalExecutor(), Silent())


def test_neurons_of_a_query(finished):
    def places(sql: str, model: str = "tiny") -> tuple[str, ...]:
        return places_from_sql(finished.store, sql, model)

    with tables(finished.store) as read:
        best = read.rows(
            "SELECT DISTINCT component, layer, neuron FROM rankings WHERE method = 'ap' AND rank = 1 ORDER BY ALL"
        )
    found = places(
        "SELECT neuron, layer, component, score FROM rankings WHERE method = 'ap' AND rank = 1 ORDER BY score"
    )
    assert set(found) == {f"{component}:{layer}:{neuron}" for component, layer, neuron in best}
    unions = (
        "SELECT 'mlp' AS component, 3 AS layer, unnest([4, 2, 3, 9]) AS neuron, unnest(['a', 'b', 'b', 'b']) AS model"
    )
    assert places(unions, "b") == ("mlp:3:2-3", "mlp:3:9")
    for sql, said in (
        ("SELECT component, layer FROM rankings", "no column 'neuron'"),
        ("SELECT component, layer, neuron FROM rankings WHERE false", "gives no neuron; try it"),
        (unions, "gives no neuron of this model"),
        ("SELECT component, layer, -1 AS neuron FROM rankings", "'.*:-1' is no place"),
        ("COPY rankings TO 'x'", "COPY is not allowed"),
        ("SELECT * FROM read_text('/etc/hostname')", "read_text"),
    ):
        with pytest.raises(QueryError, match=said):
            places(sql)
