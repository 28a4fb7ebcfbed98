"""What readers see fits together: after mended stores, changed concepts, racing plans and refused sentences."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import checksums, plan_only, run_stages, tables

from pipeline.run.dump import dump, open_extractor
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.plan_check import check_plans
from pipeline.run.planning import plan_run
from pipeline.run.plans import load_plan, save_plan
from pipeline.run.progress import Silent
from pipeline.run.search_rows import RowRule, SplitLabels
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import ConceptError, ConfigError, StoreError

LONGER = {"include": [{"layer": "upos"}, {"sql": "length(word) > 3", "name": "long"}]}


def test_a_deleted_corpus_shard_is_cut_again(inputs, tmp_path):
    first = run_stages(inputs.config(tmp_path / "store"))
    before = checksums(tmp_path / "store")
    (tmp_path / "store/receipts/corpus/shard-00001.json").unlink()
    (tmp_path / "store/words/shard-00001.parquet").unlink()
    again = run_stages(inputs.config(tmp_path / "store"))
    assert again.plan.shards == first.plan.shards
    assert checksums(tmp_path / "store") == before


def test_changed_concepts_take_the_old_rankings_out_of_sight(inputs, tmp_path):
    found = run_stages(inputs.config(tmp_path / "store"))
    changed = inputs.config(tmp_path / "store", concepts=LONGER)
    plan = plan_run(changed, found.store, LocalExecutor(), Silent())
    with tables(found.store) as read:
        assert read.rows("SELECT count(*) FROM rankings") == [(0,)]
        definition = read.rows("SELECT definition FROM concepts WHERE concept = 'long'")
    assert definition == [("length(word) > 3",)]
    search(plan, found.store, LocalExecutor(), Silent())
    with tables(found.store) as read:
        ((n_pos,),) = read.rows("SELECT DISTINCT n_pos FROM rankings WHERE concept = 'long'")
        ((n_rows,),) = read.rows(
            "SELECT count(*) FROM labels JOIN rows USING (row_id) WHERE concept = 'long' AND split = 'train'"
        )
        (config,) = read.rows("SELECT config FROM runs")
    assert n_pos == n_rows
    assert "length(word) > 3" in config[0]


def test_workers_read_the_labels_they_were_given(inputs, tmp_path):
    found = run_stages(inputs.config(tmp_path / "store"))
    stage = next(path.name for path in (tmp_path / "store/receipts").glob("labels-*"))
    loader = SplitLabels(found.store, found.plan, stage, ("long",), RowRule("token", None))
    before = [loader.load(shard).labels["train"].counts.tolist() for shard in found.plan.shards]
    plan_run(inputs.config(tmp_path / "store", concepts=LONGER), found.store, LocalExecutor(), Silent())
    loader = SplitLabels(found.store, found.plan, stage, ("long",), RowRule("token", None))
    assert [loader.load(shard).labels["train"].counts.tolist() for shard in found.plan.shards] == before


def test_one_concept_name_means_one_thing_in_a_store(inputs, tmp_path):
    plan_only(inputs.config(tmp_path / "store"))
    other = inputs.config(tmp_path / "store", model={"alias": "twin"}, concepts=LONGER)
    with pytest.raises(ConceptError, match=r"'long' is 'length\(word\) > 3' here and 'length\(word\) > 4' for model"):
        plan_only(other)


def test_a_plan_beside_another_of_the_same_alias_is_refused(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store"))
    racing = replace(found.plan, fingerprint="0" * 64, run_id="0" * 16)
    with pytest.raises(ConfigError, match="planned model 'tiny' at the same time with other inputs"):
        save_plan(found.store, racing)
    assert load_plan(found.store).run_id == found.plan.run_id


def test_two_plans_that_cut_differently_do_not_mix(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store"))
    store = tmp_path / "store"
    # as if the other plan had read the store before this one claimed its corpus
    for name in ("corpus.json", "corpus-complete.json", "plans/tiny.json", "settings/tiny.json"):
        (store / name).unlink()
    with pytest.raises(StoreError, match="shard-00000 was written by another command that cuts the corpus differently"):
        plan_only(inputs.config(store, dump={"rows_per_shard": 500}))
    with tables(found.store) as read:
        assert read.rows("SELECT count(*) = count(DISTINCT word_id) FROM words") == [(True,)]


def test_sentences_the_model_cannot_take_are_quarantined_and_survive_a_resume(inputs, tmp_path):
    sections = {"corpus": {"on_error": "skip"}, "dump": {"rows_per_shard": 600, "long_sentences": "error"}}
    whole = run_stages(inputs.config(tmp_path / "whole", **sections))
    with tables(whole.store) as read:
        refused = read.rows("SELECT source, line FROM quarantine ORDER BY ALL")
        assert len(refused) == 2
        assert read.rows("SELECT count(*) FROM sentences") == [(178,)]
    with pytest.raises(KeyboardInterrupt):
        plan_run(
            inputs.config(tmp_path / "cut", **sections), Store.create(str(tmp_path / "cut")), LocalExecutor(), Stop()
        )
    run_stages(inputs.config(tmp_path / "cut", **sections))
    assert checksums(tmp_path / "cut") == checksums(tmp_path / "whole")
    with pytest.raises(ConfigError, match=r"corpus\.on_error"):
        plan_only(inputs.config(tmp_path / "whole", dump=sections["dump"]))


class Stop(Silent):
    """Ctrl-C after the third shard of the plan."""

    def __init__(self) -> None:
        self.n_shards = 0

    def advance(self, n: int = 1, *, n_rows: int = 0) -> None:
        self.n_shards += 1
        if self.n_shards == 3:
            raise KeyboardInterrupt


def test_planning_again_needs_the_corpus_no_more(inputs, tmp_path):
    train = tmp_path / "train.conllu"
    train.write_bytes(Path(inputs.train).read_bytes())
    own = replace(inputs, train=train)
    found = run_stages(own.config(tmp_path / "store"))
    train.unlink()
    again = run_stages(own.config(tmp_path / "store"))
    assert again.plan == found.plan


def test_a_dump_is_not_resumed_with_other_libraries(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store"))
    older = replace(found.plan, libraries={**found.plan.libraries, "torch": "1.0"})
    with pytest.raises(ConfigError, match=r"planned with torch 1\.0.*install the planned versions"):
        dump(older, found.store, LocalExecutor(), Silent())


def test_the_run_says_how_it_computed(finished):
    with tables(finished.store) as read:
        ((compute,),) = read.rows("SELECT compute FROM runs")
    capture, loaded = finished.plan.capture, open_extractor(finished.plan).loaded
    assert json.loads(compute) == {
        "dtype": str(loaded.module.dtype).removeprefix("torch."),
        "autocast": False,
        "attention": loaded.module.config._attn_implementation,
        "device": "cpu",
        "threads": capture.threads,
        "token_budget": capture.token_budget,
        "packing": True,
    }
    assert loaded.module.config._attn_implementation == "sdpa"


def test_one_model_under_two_names_has_two_runs(finished, inputs, tmp_path):
    """As a control, say: nothing of the one is taken for the other's."""
    shutil.copytree(finished.store.url, tmp_path / "store")
    sections = {"model": {"alias": "again"}}
    again = run_stages(inputs.config(tmp_path / "store", **sections))
    assert again.plan.run_id != finished.plan.run_id
    with tables(again.store) as read:
        for table in ("runs", "shards", "neuron_stats", "rankings", "layer_bests", "contexts"):
            found = dict(read.rows(f"SELECT model, count(*) FROM {table} GROUP BY ALL"))
            assert found.keys() == {finished.plan.model, "again"}
            assert len(set(found.values())) == 1, table
    assert (verify(again.store), check_plans(again.store)) == ([], [])
