"""``neuronmill top``: a concept's best neurons with their contexts, as text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pipeline.report.connection import Connection, ask
from pipeline.report.methods import Method, choose_method, load_methods
from pipeline.report.neuron_cards import Context, NeuronCard, load_neuron_cards
from pipeline.report.number_format import activation_text, probability_text, score_text, share_text, sign_text
from pipeline.report.report_data import load_run
from schemas.errors import ConceptError
from schemas.inert_text import inert

#: Backgrounds of the 256-colour palette from weak to strong; black text is readable on all of them.
_POSITIVE = (230, 223, 216, 215, 208)
_NEGATIVE = (195, 153, 117, 111, 75)
_RESET = "\x1b[0m"
_HEADS = ("rank", "neuron", "score", "sign", "held-out", "base rate", "q")
_INDENT = 14


@dataclass(frozen=True, slots=True)
class TopNeurons:
    """What ``neuronmill top`` shows: a concept's first neurons by one method."""

    run_id: str
    model: str
    concept: str
    method: Method
    cards: tuple[NeuronCard, ...]


def load_top(
    connection: Connection,
    concept: str,
    *,
    method: str | None = None,
    run_id: str | None = None,
    n_neurons: int = 10,
    n_contexts: int = 3,
) -> TopNeurons:
    """The first ``n_neurons`` neurons of ``concept`` by ``method`` (None: ``ap``, else the first there is).

    ``run_id`` may be None where only one run has rankings. Raises :class:`ConceptError` for a concept that was not
    ranked, with the names nearest to it, and :class:`UsageError` for an unknown run or method.
    """
    run = load_run(connection, run_id)
    methods = load_methods(connection, run.run_id)
    names = [row[0] for row in ask(connection, "concepts", run=run.run_id)]
    if concept not in names:
        raise ConceptError(f"concept {concept!r} has no ranking in run {run.run_id}; {_nearest(concept, names)}")
    chosen = choose_method(methods, method)
    cards = load_neuron_cards(
        connection,
        run.run_id,
        chosen,
        methods=methods,
        concept=concept,
        n_neurons=n_neurons,
        n_contexts=n_contexts,
    )
    return TopNeurons(run.run_id, run.model, concept, chosen, cards.get(concept, ()))


def render_top(top: TopNeurons, *, colour: bool, width: int = 100) -> str:
    """The table of neurons, each followed by its contexts, which fit ``width`` columns (at least 60).

    With ``colour``, words have their activation as background (orange positive, blue negative, per neuron relative to
    the largest magnitude shown) and the row's own word is bold and underlined; without, it is in [brackets] and the
    text has no escape sequence. A neuron of sign −1 shows its smallest rows. All text of the corpus is :func:`inert`.
    """
    width = max(width, 60)
    lines = [
        _paint(inert(top.concept), "1", colour)
        + f"  by {inert(top.method.title)}, {inert(top.model)}, run {top.run_id}"
    ]
    if not top.cards:
        return lines[0] + "\nno defined score: the concept holds for no scored row, or for every one\n"
    n_pos, n_rows = top.cards[0].n_pos, top.method.n_rows
    split = "" if top.method.split == "all" else f" of {inert(top.method.split)}"
    lines += [f"{n_pos:,} of {n_rows:,} rows{split}", ""]
    table = [_HEADS, *(_fields(card) for card in top.cards)]
    widths = [max(map(_columns, column)) for column in zip(*table, strict=True)]
    lines.append(_paint(_table_line(_HEADS, widths), "2", colour))
    for card, fields in zip(top.cards, table[1:], strict=True):
        lines.append(_paint(_table_line(fields, widths), "1", colour))
        lines += [_context_line(context, card.scale, colour=colour, width=width) for context in card.contexts]
        if not card.contexts:
            lines.append(" " * _INDENT + "no contexts; `neuronmill contexts` writes them")
        lines.append("")
    return "\n".join(lines)


def _fields(card: NeuronCard) -> tuple[str, ...]:
    """Cells of a neuron's line, in the order of the heads."""
    return (
        str(card.rank),
        inert(str(card.neuron)),
        score_text(card.score),
        sign_text(card.sign),
        score_text(card.heldout_score),
        share_text(card.base_rate),
        probability_text(card.q_value),
    )


def _table_line(fields: Sequence[str], widths: Sequence[int]) -> str:
    """Cells side by side, all but the neuron's name to the right."""
    padded = (
        text.ljust(width) if head == "neuron" else text.rjust(width)
        for head, text, width in zip(_HEADS, fields, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def _context_line(context: Context, scale: float, *, colour: bool, width: int) -> str:
    """The value, then the window with the focus word always in the same column; words that do not fit are left out."""
    value = activation_text(context.value).rjust(_INDENT - 2) + "  "
    room = width - _INDENT
    words = [inert(w) for w in context.words]
    if context.focus is None:
        shown = _fitting(words, room)
        return value + " ".join(_word(words[i], context.values[i], scale, colour) for i in range(shown))
    focus = context.focus
    left = (room - 12) // 2
    before = _fitting(words[:focus][::-1], left)
    centre = _clipped(words[focus], room - left - 4)
    after = _fitting(words[focus + 1 :], room - left - 4 - _columns(centre))
    started = " ".join(words[focus - before : focus])
    parts = [_word(words[i], context.values[i], scale, colour) for i in range(focus - before, focus)]
    parts.append(_word(centre, context.values[focus], scale, colour, focus=True))
    parts += [_word(words[i], context.values[i], scale, colour) for i in range(focus + 1, focus + 1 + after)]
    return value + " " * (left - _columns(started) + (before == 0)) + " ".join(parts)


def _word(word: str, value: float | None, scale: float, colour: bool, *, focus: bool = False) -> str:
    if not colour:
        return f"[{word}]" if focus else word
    codes = ["1", "4"] if focus else []
    strength = 0 if value is None or scale == 0 else round(len(_POSITIVE) * abs(value) / scale)
    if value is not None and strength > 0:
        palette = _NEGATIVE if value < 0 else _POSITIVE
        codes += ["38;5;16", f"48;5;{palette[min(strength, len(palette)) - 1]}"]
    return _paint(word, ";".join(codes), colour) if codes else word


def _paint(text: str, codes: str, colour: bool) -> str:
    return f"\x1b[{codes}m{text}{_RESET}" if colour else text


def _fitting(words: Sequence[str], room: int) -> int:
    """How many of the first words fit into ``room`` columns, one space after each."""
    used = 0
    for n, word in enumerate(words):
        used += _columns(word) + 1
        if used > room:
            return n
    return len(words)


def _clipped(word: str, room: int) -> str:
    """``word``, cut with an ellipsis where it is wider than ``room`` columns."""
    if _columns(word) <= room:
        return word
    kept = word
    while kept and _columns(kept) > room - 1:
        kept = kept[:-1]
    return kept + "…"


def _columns(text: str) -> int:
    """Columns a terminal gives to ``text``: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _nearest(concept: str, names: Sequence[str]) -> str:
    close = get_close_matches(concept, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    return f"it has {', '.join(map(repr, names[:10]))}{' …' if len(names) > 10 else ''}"
