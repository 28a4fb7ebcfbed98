"""``neuronmill agree``: the agreement of rankings as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.report.agreement_data import PAIR_MEASURES, RANKING_MEASURES, AgreementData
from pipeline.report.number_format import score_text
from schemas.amounts import counted
from schemas.inert_text import inert

#: Characters of a ranking's or concept's name.
_NAME = 40


def render_agreement(data: AgreementData, *, by_concept: bool = False) -> str:
    """Scores of each ranking and a matrix per measure of pairs, means over concepts; ``by_concept`` adds them."""
    names = [_name(ranking.label) for ranking in data.rankings]
    numbers = [str(number) for number in range(1, len(names) + 1)]
    lines = [
        f"{len(names)} rankings, mean over {counted(len(data.concepts), 'concept')}, first {data.k} neurons",
        *([f"{counted(len(data.left_out), 'concept')} with one ranking only left out"] if data.left_out else []),
        "",
    ]
    means = [data.mean(measure)[0] for measure in RANKING_MEASURES]
    heads = ["", "ranking", *(title for title, _ in RANKING_MEASURES.values())]
    each = list(zip(numbers, names, strict=True))
    scores = zip(each, zip(*means, strict=True), strict=True)
    lines += _table([heads, *([*name, *_texts(row)] for name, row in scores)])
    for measure, (title, meaning) in PAIR_MEASURES.items():
        pairs = zip(each, data.mean(measure)[0], strict=True)
        lines += ["", f"{title}: {meaning[0].lower()}{meaning[1:-1]}" + _spread(data, measure)]
        lines += _table([["", "ranking", *numbers], *([*name, *_texts(row)] for name, row in pairs)])
    if by_concept:
        lines += ["", "mean over the pairs of rankings, by concept"]
        rows = [
            ["", _name(concept), *_texts(data.pair_mean(i, measure) for measure in PAIR_MEASURES)]
            for i, concept in enumerate(data.concepts)
        ]
        lines += _table([["", "concept", *(title for title, _ in PAIR_MEASURES.values())], *rows])
    return "\n".join(lines) + "\n"


def _spread(data: AgreementData, measure: str) -> str:
    if measure != "spearman":
        return ""
    fewest, most = data.n_common
    if not most:
        return ", which are too few everywhere"
    return f", {most:,} of them" if fewest == most else f", {fewest:,} to {most:,} of them"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells side by side, the second column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (c.ljust(w) if i == 1 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def _texts(values: Iterable[float]) -> list[str]:
    return [score_text(None if np.isnan(value) else float(value)) for value in values]


def _name(text: str) -> str:
    return inert(text if len(text) <= _NAME else text[: _NAME - 1] + "…")
