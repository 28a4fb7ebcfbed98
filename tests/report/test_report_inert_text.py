"""Corpus text is harmless wherever it is shown, and numbers read as they should."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.figures import anchors
from pipeline.report.inert_text import direction, script_json
from pipeline.report.number_format import activation_text, probability_text, score_text, share_text, size_text
from schemas.inert_text import inert

ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT)
def test_inert_text_has_no_control_character_and_is_inert_once_and_for_all(text: str) -> None:
    shown = inert(text)
    assert len(shown) == len(text)
    assert inert(shown) == shown
    categories = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"))))
def test_ordinary_text_of_any_script_is_left_alone(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("a\tb\nc\r\x00\x7f", "a␉b␊c␍␀␡"),
        ("\x9b31m", "\ufffd31m"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\u2066a\u2069\u2028", "\ufffda\ufffd\ufffd"),
        ("\ud800", "\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_inert_signs(text: str, shown: str) -> None:
    assert inert(text) == shown


@given(
    st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))
)
def test_script_json_round_trips_and_holds_no_markup(value: object) -> None:
    encoded = script_json(value)
    assert json.loads(encoded) == value
    assert encoded.isascii()
    assert not set("<>&") & set(encoded)


def test_script_json_refuses_what_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json([float("nan")])


def test_direction_goes_by_the_first_strong_character() -> None:
    assert direction("300 אנשים said") == "rtl"
    assert direction("مرحبا") == "rtl"
    assert direction("300 people אנשים") == "ltr"
    assert direction("300 !") == direction("") == "ltr"


@given(st.lists(ANY_TEXT, unique=True))
def test_anchors_are_unique_and_plain(names: list[str]) -> None:
    found = anchors(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(a.isascii() and a.replace("-", "").isalnum() and a == a.lower() for a in found.values())


def test_anchors_read_like_the_name_and_number_collisions() -> None:
    assert list(anchors(["upos=NUM", "upos NUM", "שם", "upos-num-2"]).values()) == [
        "concept-upos-num",
        "concept-upos-num-2",
        "concept-x",
        "concept-upos-num-2-2",
    ]


def test_numbers() -> None:
    assert [score_text(v) for v in (0.8612, 12.345, None)] == ["0.861", "12.3", "–"]
    assert [activation_text(v) for v in (-6.2151, 1234.5, 0.0312, 0.0, None)] == [
        "−6.22",
        "1.23e+03",
        "0.03",
        "0.00",
        "–",
    ]
    assert [share_text(v) for v in (0.17, 0.0193, 0.0004, None)] == ["17 %", "1.9 %", "0.04 %", "–"]
    assert [probability_text(v) for v in (0.0, 2.1e-45, 0.0421, None)] == ["<1e-300", "2e-45", "0.042", "–"]
    assert [size_text(v) for v in (12, 671_088_640)] == ["12 B", "671 MB"]
