"""Words and sentences as rows: pooled activations, labels and contexts, against the store of tokens."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from tiny_run import plan_only, run_stages, tables

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.progress import Silent
from schemas.errors import ConfigError

POOLINGS = [
    ("word", "last"),
    ("word", "first"),
    ("word", "mean"),
    ("word", "max"),
    ("sentence", "mean"),
    ("sentence", "max"),
    ("sentence", "cls"),
    ("sentence", "last"),
]
_POOL = {
    "last": lambda values: values[-1],
    "first": lambda values: values[0],
    "cls": lambda values: values[0],
    "mean": lambda values: values.mean(0),
    "max": lambda values: values.max(0),
}
LAYER = {"layers": [2], "components": ["mlp"]}


@pytest.fixture(scope="module")
def token_values(finished):
    """(word_id, sentence_id, values) of the token store: groups of token rows by word and by sentence."""
    with tables(finished.store) as read:
        _, values = read.activations("mlp", 2)
        rows = read.rows("SELECT word_id, sentence_id, is_special FROM rows ORDER BY row_id")
    groups: dict[tuple[str, int], list[int]] = {}
    for index, (word, sentence, is_special) in enumerate(rows):
        if word is not None:
            groups.setdefault(("word", word), []).append(index)
            groups.setdefault(("sentence", sentence), []).append(index)
        elif is_special and ("first special", sentence) not in groups:
            groups["first special", sentence] = [index]
    return values, groups


@pytest.mark.parametrize(("unit", "pooling"), POOLINGS)
def test_pooled_activations_are_those_of_the_tokens(inputs, tmp_path, token_values, unit, pooling):
    found = plan_only(inputs.config(tmp_path / "store", dump={"unit": unit, "pooling": pooling, **LAYER}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    values, groups = token_values
    with tables(found.store) as read:
        row_ids, pooled = read.activations("mlp", 2)
        of_row = read.rows(f"SELECT {unit}_id, is_counted, is_special FROM rows ORDER BY row_id")
        assert read.rows("SELECT unit, pooling FROM runs") == [(unit, pooling)]
        n_tokens = read.rows("SELECT count(*) FROM tokens")[0][0]
    assert len(row_ids) == len(of_row) == sum(1 for kind, _ in groups if kind == unit)
    assert n_tokens == len(values)
    assert all(counted and not special for _, counted, special in of_row)
    kind = "first special" if pooling == "cls" else unit
    expected = np.stack([_POOL[pooling](values[groups[kind, owner]]) for owner, _, _ in of_row])
    # other shards make other batches, which changes a last bit here and there; a mean is rounded after, not before
    np.testing.assert_allclose(pooled, expected, rtol=2e-3, atol=1e-4 if pooling == "mean" else 1e-7)


@pytest.fixture(scope="module", params=["word", "sentence"])
def pooled_store(request, inputs, tmp_path_factory):
    """A finished store of words, and of sentences."""
    config = inputs.config(tmp_path_factory.mktemp(request.param) / "store", dump={"unit": request.param, **LAYER})
    return request.param, run_stages(config).store


def test_labels_of_pooled_rows(pooled_store):
    """A word's row has the word's concepts; a sentence's row those of any of its words."""
    unit, store = pooled_store
    with tables(store) as read:
        for concept, condition in (("upos=NUM", "upos = 'NUM'"), ("long", "length(word) > 4")):
            joined = f"rows r JOIN words w ON r.{unit}_id = w.{unit}_id"
            wanted = f"SELECT DISTINCT r.row_id FROM {joined} WHERE {condition} ORDER BY 1"
            found = read.rows("SELECT row_id FROM labels WHERE concept = ? ORDER BY 1", concept)
            assert found == read.rows(wanted)
            assert found


def test_search_of_pooled_rows(pooled_store):
    unit, store = pooled_store
    with tables(store) as read:
        row_ids, values = read.activations("mlp", 2)
        train = np.array([row[0] == "train" for row in read.rows("SELECT split FROM rows ORDER BY row_id")])
        y = read.labels(row_ids)["upos=NUM"]
        best = read.rows(
            "SELECT neuron, sign, score, n_rows, heldout_score, unit FROM rankings "
            "WHERE concept = 'upos=NUM' AND method = 'ap' AND rank = 1"
        )
    ((neuron, sign, score, n_rows, heldout, of_unit),) = best
    x = sign * values[:, neuron]
    assert (n_rows, of_unit) == (train.sum(), unit)
    assert score == pytest.approx(average_precision_score(y[train], x[train]), abs=1e-9)
    assert heldout == pytest.approx(average_precision_score(y[~train], x[~train]), abs=1e-9)


def test_contexts_of_pooled_rows(pooled_store):
    unit, store = pooled_store
    with tables(store) as read:
        row_ids, values = read.activations("mlp", 2)
        found = read.rows(
            "SELECT neuron, row_id, value, sentence_id, words, values, focus, word_id "
            "FROM contexts WHERE tail = 'top' AND rank = 1"
        )
        words: dict[int, list[tuple[int, str]]] = {}
        for sentence, word_id, word in read.rows("SELECT sentence_id, word_id, word FROM words ORDER BY word_id"):
            words.setdefault(sentence, []).append((word_id, word))
        row_of_word = dict(read.rows("SELECT word_id, row_id FROM rows"))
    assert sorted(row[0] for row in found) == list(range(24))
    for neuron, row_id, value, sentence, shown, activations, focus, word_id in found:
        assert row_id == row_ids[np.argmax(values[:, neuron])]
        assert value == values[:, neuron].max()
        if unit == "sentence":
            assert shown == [word for _, word in words[sentence]][:60]
            assert (focus, word_id) == (None, None)
            assert activations == [None] * len(shown)
        else:
            assert activations[focus] == value
            assert shown[focus] == dict(words[sentence])[word_id]
            first = [word for word, _ in words[sentence]].index(word_id) - focus
            around = [word for word, _ in words[sentence]][first : first + len(shown)]
            rows = [row_of_word.get(word) for word in around]
            assert activations == [None if row is None else values[row_ids == row, neuron][0] for row in rows]


def test_a_pooling_that_the_unit_does_not_have_is_refused(inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"dump\.pooling 'cls' does not go with dump\.unit 'word'"):
        plan_only(inputs.config(tmp_path / "store", dump={"unit": "word", "pooling": "cls"}))


def test_fewer_rows_than_contexts_and_a_shard_without_labels(inputs, tmp_path):
    lines = ["1\tdog\tdog\tNOUN\t_\t_\t0\troot\t_\t_\n", "1\tcat\tcat\tVERB\t_\t_\t0\troot\t_\t_\n"] * 2
    corpus = tmp_path / "four.conllu"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    found = run_stages(
        inputs.config(
            tmp_path / "store",
            corpus={"sources": [str(corpus)]},
            dump={"unit": "word", "rows_per_shard": 1, **LAYER},
            concepts={"include": [{"words": ["dog"], "name": "dog"}]},
            contexts={"k": 10},
        )
    )
    assert [shard.n_rows for shard in found.plan.shards] == [1, 1, 1, 1]
    with tables(found.store) as read:
        assert read.rows("SELECT row_id, concept FROM labels ORDER BY ALL") == [(0, "dog"), (2, "dog")]
        assert read.rows("SELECT count(*), max(rank) FROM contexts") == [(24 * 2 * 4, 4)]
        assert read.rows("SELECT DISTINCT n_rows, n_pos, base_rate, split FROM rankings") == [(4, 2, 0.5, "all")]
