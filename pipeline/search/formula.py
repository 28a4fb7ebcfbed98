"""Formulas over concepts: their canonical text, their rows, and the operands of their disjunction.

A formula is built by one concept after the other, ``((c₁ op₂ c₂) op₃ c₃) …``, with AND, OR or AND NOT. Written, runs of
the same kind are flattened: ``(a OR b) OR c`` is ``a OR b OR c``, and its operands are sorted. A name that is not plain
(white space, quotes, parentheses, or one of the operators' words) stands in double quotes, with quotes in it doubled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.search.bit_masks import Words

Operator = Literal["AND", "OR", "AND NOT"]

_PLAIN = re.compile(r'[^\s"()]+')


@dataclass(frozen=True, slots=True)
class Step:
    """One concept of a formula, by its number, and the operator before it; before the first it is OR (with nothing)."""

    operator: Operator
    concept: int


@dataclass(frozen=True, slots=True)
class Operand:
    """One conjunction of a formula that is written as a disjunction: concepts that hold, and concepts that don't."""

    held: frozenset[int]
    excluded: frozenset[int]

    def text(self, names: Sequence[str]) -> str:
        """``a AND b AND NOT c``, names sorted."""
        positive = sorted(quoted(names[concept]) for concept in self.held)
        negative = sorted(quoted(names[concept]) for concept in self.excluded)
        return " AND ".join([*positive, *(f"NOT {name}" for name in negative)])

    def mask(self, masks: Words) -> Words:
        """Its rows, (W,) words, from the concepts' masks (C, W)."""
        words: Words = np.bitwise_and.reduce(masks[sorted(self.held)], axis=0)
        for concept in self.excluded:
            words &= ~masks[concept]
        return words


@dataclass(frozen=True, slots=True)
class Formula:
    """The concepts of a formula in the order in which they were added."""

    steps: tuple[Step, ...]

    @property
    def length(self) -> int:
        """Number of concepts."""
        return len(self.steps)

    @property
    def concepts(self) -> tuple[int, ...]:
        """The concepts' numbers, in that order."""
        return tuple(step.concept for step in self.steps)

    def mask(self, masks: Words) -> Words:
        """Its rows, (W,) words, from the concepts' masks (C, W)."""
        words: Words = masks[self.steps[0].concept].copy()
        for step in self.steps[1:]:
            if step.operator == "OR":
                words |= masks[step.concept]
            else:
                words &= masks[step.concept] if step.operator == "AND" else ~masks[step.concept]
        return words

    def text(self, names: Sequence[str]) -> str:
        """The canonical text: two formulas have the same if they are the same but for the order of operands."""
        inner, run = "", [quoted(names[self.steps[0].concept])]
        negative: list[str] = []
        is_or = len(self.steps) > 1 and self.steps[1].operator == "OR"
        for step in self.steps[1:]:
            if (step.operator == "OR") != is_or:
                inner = f"({_joined(inner, run, negative, is_or=is_or)})"
                run, negative, is_or = [], [], not is_or
            (negative if step.operator == "AND NOT" else run).append(quoted(names[step.concept]))
        return _joined(inner, run, negative, is_or=is_or)

    def operands(self) -> list[Operand]:
        """The formula as an OR of ANDs: one operand for the first concept and one for each OR.

        ``(a OR b) AND NOT c`` has the operands ``a AND NOT c`` and ``b AND NOT c``.
        """
        found: list[Operand] = []
        for step in self.steps:
            added = frozenset([step.concept])
            if step.operator == "OR":
                found.append(Operand(added, frozenset()))
            elif step.operator == "AND":
                found = [Operand(one.held | added, one.excluded) for one in found]
            else:
                found = [Operand(one.held, one.excluded | added) for one in found]
        return found


def quoted(name: str) -> str:
    """A concept's name as it stands in a formula."""
    if _PLAIN.fullmatch(name) and name.upper() not in ("AND", "OR", "NOT"):
        return name
    return '"' + name.replace('"', '""') + '"'


def _joined(inner: str, positive: list[str], negative: list[str], *, is_or: bool) -> str:
    """One run: what stands before it, then its operands in order."""
    operands = [*([inner] if inner else []), *sorted(positive)]
    if is_or:
        return " OR ".join(operands)
    return " AND ".join([*operands, *(f"NOT {name}" for name in sorted(negative))])
