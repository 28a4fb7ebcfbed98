"""Labels of rows, against a loop that follows the definition word for word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.concepts import Concept
from pipeline.corpus.labels import label_rows

KINDS = st.tuples(st.sampled_from(["layer", "sentence", "document"]), st.sampled_from(["all", "first", "last"]))


def by_definition(row_word, is_counted, concepts, masks):
    pairs = []
    for index, (concept, mask) in enumerate(zip(concepts, masks, strict=True)):
        for word in range(len(mask)):
            rows = [r for r, w in enumerate(row_word) if w == word and is_counted[r]]
            if concept.kind == "layer" and concept.label_on != "all":
                rows = rows[:1] if concept.label_on == "first" else rows[-1:]
            pairs += [(row, index) for row in rows if mask[word]]
    return sorted(pairs)


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.booleans()), max_size=20),
    st.lists(st.tuples(KINDS, st.lists(st.booleans(), min_size=5, max_size=5)), max_size=4),
)
def test_token_and_word_rows_follow_the_definition(rows, columns):
    row_word = np.array([word for word, _ in rows], dtype=np.int64)
    is_counted = np.array([counted for _, counted in rows], dtype=bool)
    concepts = [Concept(f"c{i}", kind, None, None, "", label_on=on) for i, ((kind, on), _) in enumerate(columns)]
    masks = [np.array(mask, dtype=bool) for _, mask in columns]
    row_index, concept_index = label_rows(row_word, is_counted, concepts, masks)
    assert (row_index.dtype, concept_index.dtype) == (np.int64, np.int32)
    assert list(zip(row_index.tolist(), concept_index.tolist(), strict=True)) == by_definition(
        row_word, is_counted, concepts, masks
    )


def test_a_sentence_row_carries_what_any_of_its_words_carries():
    word_sentence = np.array([0, 0, 1, 2])
    concepts = [Concept("a", "layer", None, None, "", label_on="first"), Concept("b", "sentence", None, None, "")]
    masks = [np.array([False, True, False, False]), np.array([True, True, False, True])]
    rows, indices = label_rows(
        np.full(3, -1),
        np.array([True, True, True]),
        concepts,
        masks,
        row_sentence=np.array([0, 1, 2]),
        word_sentence=word_sentence,
    )
    assert list(zip(rows.tolist(), indices.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 1)]


def test_no_rows_and_no_concepts_give_empty_arrays():
    empty = np.empty(0, dtype=np.int64)
    concept = Concept("a", "layer", None, None, "")
    assert [len(x) for x in label_rows(empty, np.empty(0, dtype=bool), [concept], [np.empty(0, dtype=bool)])] == [0, 0]
    assert [len(x) for x in label_rows(np.array([0]), np.array([True]), [], [])] == [0, 0]


def test_masks_and_concepts_must_pair_up():
    with pytest.raises(ValueError, match="one per concept, got 0 for 1"):
        label_rows(np.array([0]), np.array([True]), [Concept("a", "layer", None, None, "")], [])
