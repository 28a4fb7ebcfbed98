"""Words and their places in a text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.sentence import join_words, locate_words, quarantine
from schemas.errors import CorpusError

WORDS = st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6), min_size=1, max_size=8)


@given(WORDS)
def test_joined_words_lie_where_their_spans_say(words):
    text, spans = join_words(words)
    assert [text[a:b] for a, b in spans] == words
    assert text.split(" ") == words


@given(WORDS, st.lists(st.sampled_from(["", " ", "  ", "\u00a0", "\t"]), min_size=9, max_size=9))
def test_words_are_located_with_any_white_space_between_them(words, spaces):
    text = spaces[0] + "".join(word + space for word, space in zip(words, spaces[1:], strict=False))
    spans = locate_words(text, words, gaps=False)
    assert [text[a:b] for a, b in spans] == words
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "words", "gaps", "value"),
    [
        ("the cat", ["the", "dog"], True, "'dog'"),
        ("the cat the", ["cat", "the", "the"], True, "'the'"),
        ("a bad cat", ["a", "cat"], False, "'cat'"),
        ("the cat sat", ["the", "cat"], False, "'sat'"),
        ("x", [""], True, "''"),
    ],
)
def test_a_word_out_of_place_is_an_error(text, words, gaps, value):
    with pytest.raises(CorpusError, match=value):
        locate_words(text, words, gaps=gaps)


def test_gaps_may_hold_other_characters_where_allowed():
    assert locate_words("Well, the cat!", ["Well", "cat"]) == ((0, 4), (10, 13))


def test_excerpts_are_cut_and_always_writable():
    item = quarantine("a.txt", 3, "a rule", "\ud800" + "x" * 500, "do that")
    assert len(item.excerpt.encode()) <= 206
    assert item.message.startswith("a.txt:3: a rule; found ")
    assert item.message.endswith("; do that")
