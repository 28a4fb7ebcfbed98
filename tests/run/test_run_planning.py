"""Planning: cutting rules, resuming, several models in one store, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import save_model
from tiny_run import Finished, checksums, plan_only, run_stages, tables, write_corpus

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.planning import plan_run
from pipeline.run.plans import load_plan
from pipeline.run.preview import EverySentence, preview
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.store.store import Store
from schemas.errors import ConfigError, IncompleteError, ModelError


class Interrupting(Silent):
    """Ctrl-C after ``n`` pieces of work."""

    def __init__(self, n: int) -> None:
        self.left = n

    def advance(self, n: int = 1, *, n_rows: int = 0) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def own_inputs(inputs, tmp_path):
    """Inputs that a test may change."""
    shutil.copytree(inputs.model, tmp_path / "tiny")
    corpus = tmp_path / "corpus"
    shutil.copytree(inputs.train.parent, corpus)
    return replace(inputs, train=corpus / "train.conllu", test=corpus / "test.conllu", model=tmp_path / "tiny")


def everything(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file() and "locks" not in path.parts}


def shard_sizes(found: Finished) -> list[list[int]]:
    """Rows of every sentence, shard by shard."""
    with tables(found.store) as read:
        counts = dict(read.rows("SELECT sentence_id, count(*) FROM rows GROUP BY ALL"))
    return [
        [counts[sentence] for sentence in range(shard.first_sentence, shard.first_sentence + shard.n_sentences)]
        for shard in found.plan.shards
    ]


def assert_cut_by_the_rules(sizes: list[list[int]], limit: int) -> None:
    for shard, following in zip(sizes, [*sizes[1:], [limit]], strict=True):
        assert sum(shard) <= limit or len(shard) == 1
        assert sum(shard) + following[0] > limit


def test_shards_are_closed_before_the_sentence_that_would_overflow_them(inputs, finished, tmp_path):
    assert len(finished.plan.shards) == 6
    assert_cut_by_the_rules(shard_sizes(finished), 600)
    small = plan_only(inputs.config(tmp_path / "store", dump={"rows_per_shard": 120}))
    sizes = shard_sizes(small)
    assert_cut_by_the_rules(sizes, 120)
    assert any(len(shard) == 1 and shard[0] > 120 for shard in sizes)  # the long sentence
    assert sum(map(sum, sizes)) == finished.plan.n_rows


def test_ids_are_dense_and_every_document_is_listed_once(finished):
    with tables(finished.store) as read:
        for table, column, n in (
            ("words", "word_id", None),
            ("sentences", "sentence_id", 180),
            ("documents", "document_id", 60),
            ("rows", "row_id", finished.plan.n_rows),
        ):
            ids = [row[0] for row in read.rows(f"SELECT {column} FROM {table}")]
            assert sorted(ids) == list(range(n or len(ids)))
        documents = read.rows("SELECT document, split, n_sentences FROM documents ORDER BY document_id")
        assert documents[0] == ("train-0", "train", 3)
        assert documents[-1] == ("test-19", "test", 3)
        assert read.rows("SELECT sum(n_words) FROM documents") == read.rows("SELECT count(*) FROM words")
    assert sum(shard.n_words_without_token for shard in finished.plan.shards) == 2  # the zero-width word, twice
    assert sum(shard.n_split_sentences for shard in finished.plan.shards) == 2


def test_an_interrupted_plan_goes_on_where_it_stopped(inputs, finished, tmp_path):
    config = inputs.config(tmp_path / "store")
    store = Store.create(config.store)
    with pytest.raises(KeyboardInterrupt):
        plan_run(config, store, LocalExecutor(), Interrupting(3))
    first = everything(tmp_path / "store" / "receipts")
    assert len(first) == 6  # three shards of the corpus and of its rows
    with pytest.raises(ConfigError, match="nothing is planned"):
        load_plan(store)
    found = plan_only(config)
    assert found.plan.shards == finished.plan.shards
    assert first.items() <= everything(tmp_path / "store" / "receipts").items()
    reference = checksums(finished.store.url)
    assert all(reference[path] == digest for path, digest in checksums(tmp_path / "store").items())
    before = everything(tmp_path / "store")
    again = plan_only(config)
    assert again.plan == found.plan
    assert everything(tmp_path / "store").keys() == before.keys()


def test_another_model_in_the_store_has_rows_of_its_own_over_the_same_words(inputs, tmp_path):
    few = {"layers": [1], "components": ["resid"]}
    first = run_stages(inputs.config(tmp_path / "store", dump=few))
    before = checksums(tmp_path / "store")
    save_model(tmp_path / "gpt", "gpt2", "byte_level")
    other = {"name": str(tmp_path / "gpt"), "alias": "second"}
    second = run_stages(inputs.config(tmp_path / "store", dump=few, model=other))
    assert before.items() <= checksums(tmp_path / "store").items()
    assert second.plan.row_space != first.plan.row_space
    cuts = [[(shard.first_sentence, shard.n_sentences) for shard in found.plan.shards] for found in (first, second)]
    assert cuts[0] == cuts[1]
    with tables(first.store) as read:
        ((n, n_distinct),) = read.rows("SELECT count(*), count(DISTINCT row_id) FROM rows")
        assert n == n_distinct == first.plan.n_rows + second.plan.n_rows
        n_words = sum(shard.n_words for shard in first.plan.shards)
        assert read.rows("SELECT count(*), count(DISTINCT word_id) FROM words") == [(n_words, n_words)]
        row_ids, values = read.activations("resid", 1, "second")
        assert row_ids[0] == second.plan.shards[0].first_row >= 2**40
        assert len(values) == second.plan.n_rows
        assert read.rows("SELECT DISTINCT model FROM rankings ORDER BY ALL") == [("second",), ("tiny",)]
        joined = read.rows(
            "SELECT count(DISTINCT word_id) FROM tokens a JOIN tokens b USING (word_id) WHERE a.row_id < 1099511627776 "
            "AND b.row_id >= 1099511627776"
        )
        assert joined[0][0] == n_words - 2  # the zero-width word is in the first model's vocabulary nowhere
    with pytest.raises(ConfigError, match=r"--model second \| tiny"):
        load_plan(first.store)


def test_a_model_with_the_same_tokenizer_shares_the_rows(inputs, tmp_path):
    few = {"layers": [1], "components": ["resid"]}
    first = plan_only(inputs.config(tmp_path / "store", dump=few))
    before = checksums(tmp_path / "store")
    save_model(tmp_path / "other", "bert", "wordpiece", seed=5)
    second = plan_only(inputs.config(tmp_path / "store", dump=few, model={"name": str(tmp_path / "other")}))
    assert (second.plan.row_space, second.plan.shards) == (first.plan.row_space, first.plan.shards)
    assert second.plan.run_id != first.plan.run_id
    assert checksums(tmp_path / "store") == before


def test_another_tokenizer_is_refused_while_the_corpus_is_being_cut(inputs, tmp_path):
    config = inputs.config(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        plan_run(config, Store.create(config.store), LocalExecutor(), Interrupting(2))
    before = everything(tmp_path / "store")
    save_model(tmp_path / "gpt", "gpt2", "byte_level")
    with pytest.raises(ConfigError, match="is still cutting this corpus; finish that one first"):
        plan_only(inputs.config(tmp_path / "store", model={"name": str(tmp_path / "gpt")}))
    assert everything(tmp_path / "store") == before
    assert len(plan_only(config).plan.shards) == 6


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("dump", {"dtype": "bfloat16"}, 'dump.dtype: "float16" → "bfloat16"'),
        ("dump", {"token_budget": 64}, "dump.token_budget: 128 → 64"),
        ("dump", {"rows_per_shard": 500}, "dump.rows_per_shard: 600 → 500"),
        ("model", {"compute_dtype": "bfloat16"}, 'model.compute_dtype: "float32" → "bfloat16"'),
        ("corpus", {"on_error": "skip"}, 'corpus.on_error: "raise" → "skip"'),
        ("executor", {"threads": 2}, "threads: 1 → 2"),
    ],
)
def test_a_changed_config_is_refused_with_the_key(inputs, finished, section, change, named):
    store = Path(finished.store.url)
    before = everything(store)
    with pytest.raises(ConfigError, match="was planned here with other") as error:
        plan_only(inputs.config(store, **{section: change}))
    assert named in str(error.value)
    assert error.value.exit_code == 2
    assert everything(store) == before


def test_a_changed_corpus_file_is_refused_by_name(own_inputs, tmp_path):
    config = own_inputs.config(tmp_path / "store")
    plan_only(config)
    before = everything(tmp_path / "store")
    text = own_inputs.test.read_text(encoding="utf-8")
    own_inputs.test.write_text(text.replace("\tcat\t", "\tdog\t", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"test\.conllu has changed"):
        plan_only(config)
    write_corpus(own_inputs.train.parent, n_train=10, seed=3)
    with pytest.raises(ConfigError, match=r"test\.conllu has changed|train\.conllu has changed"):
        plan_only(config)
    assert everything(tmp_path / "store") == before


def test_changed_weights_are_refused(own_inputs, tmp_path):
    config = own_inputs.config(tmp_path / "store")
    found = plan_only(config)
    before = everything(tmp_path / "store")
    weights = own_inputs.model / "model.safetensors"
    tensors = load_file(weights)
    tensors["embeddings.LayerNorm.bias"] += np.float32(0.5)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"the weights of .*tiny have changed"):
        plan_only(config)
    with pytest.raises((ModelError, IncompleteError), match="weights changed since the plan"):
        dump(found.plan, found.store, LocalExecutor(), Silent())
    assert everything(tmp_path / "store") == before


def test_a_changed_tokenizer_is_refused_before_anything_is_written(own_inputs, tmp_path):
    config = own_inputs.config(tmp_path / "store")
    plan_only(config)
    before = everything(tmp_path / "store")
    file = own_inputs.model / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    with pytest.raises(ConfigError, match=r"the tokenizer of .*tiny has changed"):
        plan_only(config)
    assert everything(tmp_path / "store") == before


def test_another_memory_limit_after_an_interruption_leaves_no_neuron_twice(inputs, finished, tmp_path):
    config = inputs.config(tmp_path / "store")
    found = plan_only(config)
    dump(found.plan, found.store, LocalExecutor(), Silent())
    little = config.executor.model_copy(update={"memory_mb": 4})
    careful = found.plan.with_config(config.model_copy(update={"executor": little}))
    for stage, table in ((compute_statistics, "neuron_stats"), (search, "rankings")):
        with pytest.raises(KeyboardInterrupt):
            stage(careful, found.store, LocalExecutor(), Interrupting(3))
        assert len(list((tmp_path / "store" / "receipts").glob("*/resid-000-*.json"))) >= 2  # the layer was cut
        stage(found.plan, found.store, LocalExecutor(), Silent())
        reference = {path: digest for path, digest in checksums(finished.store.url).items() if table in path}
        assert {path: digest for path, digest in checksums(tmp_path / "store").items() if table in path} == reference


def test_a_stage_before_its_time_is_refused(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store"))
    for stage in (compute_statistics, search):
        with pytest.raises(IncompleteError, match="6 of 6 shards not dumped yet"):
            stage(found.plan, found.store, LocalExecutor(), Silent())


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
def test_a_preview_is_near_the_plan(inputs, tmp_path, monkeypatch, unit):
    """Of a corpus that is larger than what is tokenised for it."""
    monkeypatch.setattr("pipeline.run.preview._SAMPLED", 40)
    config = inputs.config(tmp_path / "store", dump={"unit": unit})
    (line,) = [line for line in preview(config) if line.startswith("dump: about ")]
    assert not (tmp_path / "store").exists()
    n_rows = int(line.split()[2].replace(",", ""))
    # of 40 sentences; at word unit, words without a token are not rows
    assert n_rows == pytest.approx(plan_only(config).plan.n_rows, rel=0.15 if unit == "token" else 0.01)


def test_every_kth_sentence_is_kept(monkeypatch):
    monkeypatch.setattr("pipeline.run.preview._SAMPLED", 10)
    for n in (1, 10, 11, 100, 161):
        sample = EverySentence()
        for number in range(n):
            sample.add(number)
        step = sample.kept[1] if len(sample.kept) > 1 else 1
        assert sample.kept == list(range(0, n, step))
        assert min(n, 6) <= len(sample.kept) <= 10
