"""Writing CoNLL-U that :mod:`pipeline.corpus.conllu` reads back to the same sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a sentence; ``head`` is the position of its head from 1, 0 for the root; ``""`` is no value."""

    form: str
    upos: str = ""
    xpos: str = ""
    feats: str = ""
    head: int | None = None
    deprel: str = ""
    entity: str = ""
    is_space_after: bool = True


def comment_value(text: str) -> str:
    """``text`` on one line: runs of white space become one space."""
    return " ".join(text.split())


def document_comments(name: str, labels: Mapping[str, str], split: str | None, source: str) -> list[str]:
    """Comment lines that start a document: name, labels, split and the file it came from."""
    lines = [f"# newdoc id = {comment_value(name)}", f"# source = {comment_value(source)}"]
    if split:
        lines.append(f"# split = {split}")
    for label, value in sorted(labels.items()):
        lines.append(f"# meta::{comment_value(label).replace('=', ':')} = {comment_value(value)}")
    return lines


def sentence_lines(sent_id: str, text: str, tokens: Sequence[Token]) -> list[str]:
    """The lines of one sentence, without the blank line after it. ``text`` holds no line end."""
    lines = [f"# sent_id = {sent_id}", f"# text = {text}"]
    for position, token in enumerate(tokens, start=1):
        misc = [f"Entity={token.entity}"] if token.entity else []
        if not token.is_space_after:
            misc.append("SpaceAfter=No")
        cells = (
            str(position),
            token.form,
            "_",
            token.upos or "_",
            token.xpos or "_",
            token.feats or "_",
            "_" if token.head is None else str(token.head),
            token.deprel or "_",
            "_",
            "|".join(misc) or "_",
        )
        lines.append("\t".join(cells))
    return lines
