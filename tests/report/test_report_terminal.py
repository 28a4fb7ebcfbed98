"""`neuronmill top` as text."""

from __future__ import annotations

import re

import pytest
from report_store import BIDI_HOSTILE, HOSTILE, RTL, make_store

from pipeline.report import load_top, render_top
from pipeline.report.terminal import _columns
from schemas.errors import ConceptError, UsageError

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_plain_text_has_a_line_per_neuron_and_brackets_on_the_focus() -> None:
    top = load_top(make_store(6), "upos=NUM", n_neurons=5, n_contexts=3)
    text = render_top(top, colour=False)
    assert "\x1b" not in text
    lines = text.split("\n")
    assert lines[0] == "upos=NUM  by Average precision, minilm-l6, run 1f2e3d4c5b6a7980"
    assert lines[1] == "7,002 of 42,000 rows of train"
    assert lines[3].split() == ["rank", "neuron", "score", "sign", "held-out", "base", "rate", "q"]
    for card in top.cards:
        [at] = [i for i, line in enumerate(lines) if line.split()[:2] == [str(card.rank), str(card.neuron)]]
        assert f"{card.score:.3f}" in lines[at]
        assert [line.count("[") for line in lines[at + 1 : at + 4]] == [1, 1, 1]
        assert lines[at + 4] == ""


def test_focus_words_stand_in_one_column() -> None:
    top = load_top(make_store(6), "upos=NUM", n_neurons=3, n_contexts=5)
    lines = [line for line in render_top(top, colour=False).splitlines() if "[" in line]
    assert len({line.index("[") for line in lines}) == 1


def test_a_negative_detector_shows_its_bottom() -> None:
    top = load_top(make_store(6), "upos=NUM", n_neurons=5)
    assert top.cards[4].sign == -1
    tail = render_top(top, colour=False).split(f"{top.cards[4].neuron}")[1]
    assert re.findall(r"^ +(−\d\.\d\d) ", tail, re.MULTILINE) == ["−6.05", "−5.70", "−5.35"]
    assert "  −  " in tail.splitlines()[0]


def test_colour_only_adds_escapes_and_drops_brackets() -> None:
    top = load_top(make_store(6), "upos=NUM", n_neurons=5)
    coloured = render_top(top, colour=True)
    plain = render_top(top, colour=False)
    assert ANSI.sub("", coloured).splitlines()[:4] == plain.splitlines()[:4]
    assert ANSI.sub("", coloured) == plain.replace("[", "").replace("]", "")
    assert "\x1b[1;4;38;5;16;48;5;208m" in coloured
    assert "\x1b[1;4;38;5;16;48;5;75m" in coloured
    assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in coloured.splitlines())


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_contexts_fit_the_width(width: int) -> None:
    store = make_store(4, extra_sentences=((HOSTILE * 2, "said"), ("東京都で", "三百人が", "死亡した") * 4))
    top = load_top(store, "upos=NUM", n_neurons=8, n_contexts=8)
    for line in render_top(top, colour=False, width=width).splitlines()[3:]:
        assert _columns(line) <= width


@pytest.mark.parametrize("width", [60, 200])
def test_names_are_never_cut(width: int) -> None:
    concept = "feat_Number=" + "x" * 300
    store = make_store(2, extra_concepts=(concept,))
    store.execute("update rankings set neuron = 1234567890 + neuron, component = 'resid_of_a_very_long_name'")
    top = load_top(store, concept)
    lines = render_top(top, colour=False, width=width).splitlines()
    assert lines[0].startswith(f"{concept}  by ")
    assert "…" not in "".join(lines)
    assert [line.split()[1] for line in lines if "_long_name" in line] == [str(card.neuron) for card in top.cards]
    with pytest.raises(ConceptError, match=f"did you mean '{concept}'"):
        load_top(store, concept + "y")


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_text_sends_nothing_to_the_terminal(colour: bool) -> None:
    store = make_store(3, extra_concepts=(BIDI_HOSTILE,), extra_sentences=((BIDI_HOSTILE, "hello", "\x9b2J"), RTL))
    text = ANSI.sub("", render_top(load_top(store, BIDI_HOSTILE), colour=colour))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "�gnp.exe␛[2J␇␀�31m" in text


def test_sentence_unit_and_missing_contexts() -> None:
    store = make_store(2, unit="sentence")
    assert "[" not in render_top(load_top(store, "upos=NUM"), colour=False)
    store.execute("delete from contexts")
    assert "no contexts; `neuronmill contexts` writes them" in render_top(load_top(store, "upos=NUM"), colour=True)


def test_a_concept_without_a_score_says_so() -> None:
    top = load_top(make_store(2, undefined=("upos=DET",)), "upos=DET")
    assert top.cards == ()
    assert "no defined score" in render_top(top, colour=False)


def test_method_is_chosen_by_name() -> None:
    store = make_store(2)
    assert load_top(store, "upos=NUM").method.method == "ap"
    assert load_top(store, "upos=NUM", method="mean_diff").cards[0].score > 1
    with pytest.raises(UsageError, match="method 'apx' is not in the rankings of this run; it has ap, auroc"):
        load_top(store, "upos=NUM", method="apx")


def test_unknown_concepts_get_a_suggestion() -> None:
    store = make_store(14)
    with pytest.raises(ConceptError, match=r"concept 'upos=VRB' has no ranking in run .*did you mean 'upos=VERB'"):
        load_top(store, "upos=VRB")
    with pytest.raises(ConceptError, match=r"it has 'upos=ADJ', 'upos=ADP'.* …"):
        load_top(store, "zzz")
