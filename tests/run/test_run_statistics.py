"""Statistics and contexts end to end: equal to numpy and scipy on the values that a reader of the store gets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tiny_run import run_stages, tables

from schemas.tables import QUANTILES


@pytest.fixture(scope="module", params=["float16", "float32"])
def store(request, inputs, tmp_path_factory):
    """A finished store of 16 and of 32 bits."""
    if request.param == "float16":
        return request.getfixturevalue("finished").store
    config = inputs.config(
        tmp_path_factory.mktemp("float32") / "store",
        dump={"dtype": "float32", "layers": [0, 1]},
        search={"round_to": "bfloat16", "methods": ["ap"]},
    )
    return run_stages(config).store


def counted_rows(read, row_ids):
    counted = dict(read.rows("SELECT row_id, is_counted FROM rows"))
    return np.array([counted[row] for row in row_ids.tolist()])


@pytest.mark.parametrize(("component", "layer"), [("resid", 0), ("mlp", 1)])
def test_neuron_statistics_equal_numpy_and_scipy(store, component, layer):
    with tables(store) as read:
        row_ids, values = read.activations(component, layer)
        x = values[counted_rows(read, row_ids)]
        found = read.query(
            "SELECT * FROM neuron_stats WHERE component = ? AND layer = ? ORDER BY neuron", component, layer
        )
    assert found["neuron"] == list(range(x.shape[1]))
    for name, expected in (
        ("mean", x.mean(0)),
        ("variance", x.var(0)),
        ("skewness", stats.skew(x, axis=0)),
        ("kurtosis", stats.kurtosis(x, axis=0)),
        ("min", x.min(0)),
        ("max", x.max(0)),
        ("activity_rate", (x > 0).mean(0)),
        ("saturation", np.maximum((x == x.max(0)).mean(0), (x == x.min(0)).mean(0))),
        *((name, np.quantile(x, level, axis=0)) for name, level in QUANTILES.items()),
    ):
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert not any(found["is_dead"])


@pytest.mark.parametrize(("component", "layer"), [("resid", 0), ("mlp", 1)])
def test_contexts_are_the_extreme_rows_with_the_words_around_them(store, component, layer):
    """Layer 0 is full of ties: the same token at the same position has the same embedding."""
    k, window = 4, 2
    with tables(store) as read:
        row_ids, values = read.activations(component, layer)
        counted = counted_rows(read, row_ids)
        sentences: dict[int, list[tuple[int, str]]] = {}
        for sentence, word_id, word in read.rows("SELECT sentence_id, word_id, word FROM words ORDER BY word_id"):
            sentences.setdefault(sentence, []).append((word_id, word))
        rows_of: dict[int, list[int]] = {}
        for index, word_id in enumerate(row[0] for row in read.rows("SELECT word_id FROM rows ORDER BY row_id")):
            rows_of.setdefault(word_id, []).append(index)
        about = {row[0]: row[1:] for row in read.rows("SELECT row_id, word_id, sentence_id, document_id FROM rows")}
        found = read.rows(
            "SELECT neuron, tail, rank, row_id, value, word_id, sentence_id, document_id, words, values, focus "
            "FROM contexts WHERE component = ? AND layer = ? ORDER BY neuron, tail DESC, rank",
            component,
            layer,
        )
    assert len(found) == 2 * k * values.shape[1]
    expected = []
    for neuron in range(values.shape[1]):
        x, rows = values[counted, neuron], row_ids[counted]
        for tail, order in (("top", np.lexsort((rows, -x))), ("bottom", np.lexsort((rows, x)))):
            expected += [(neuron, tail, n + 1, rows[i], x[i]) for n, i in enumerate(order[:k])]
    assert [row[:5] for row in found] == expected
    for neuron, _, _, row_id, value, word_id, sentence, document, words, shown, focus in found:
        assert (word_id, sentence, document) == about[row_id]
        of_sentence = sentences[sentence]
        place = [word for word, _ in of_sentence].index(word_id)
        around = of_sentence[max(0, place - window) : place + window + 1]
        assert words == [word for _, word in around]
        assert focus == place - max(0, place - window)
        for (word, _), activation in zip(around, shown, strict=True):
            of_word = values[rows_of.get(word, []), neuron]
            if len(of_word):
                assert abs(activation) == np.abs(of_word).max()
                assert activation in of_word
            else:
                assert activation is None
        assert abs(shown[focus]) >= abs(value)
