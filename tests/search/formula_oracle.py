"""The beam search for formulas as one writes it down with numpy, and the search through all formulas."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

OPERATORS = ("AND", "OR", "AND NOT")


class Candidate(NamedTuple):
    """A formula with its mask."""

    steps: tuple[tuple[str, int], ...]
    mask: Any
    iou: float


def apply(mask, operator, concept):
    if operator == "AND":
        return mask & concept
    return mask | concept if operator == "OR" else mask & ~concept


def iou(mask, target):
    union = np.count_nonzero(mask | target)
    return np.count_nonzero(mask & target) / union if union else 0.0


def numpy_beam(target, concepts, beam, length):
    """The best formulas of each length for ``target`` (T,) over ``concepts`` (C, T), best first."""
    levels = []
    for level in range(length):
        made = extensions(levels[-1], concepts) if level else [((("OR", c),), mask) for c, mask in enumerate(concepts)]
        scored = [Candidate(steps, mask, iou(mask, target)) for steps, mask in made]
        scored = [candidate for candidate in scored if candidate.iou > 0]
        scored.sort(
            key=lambda candidate: -candidate.iou
        )  # stable: equal ones stay in the order in which they were made
        best = []
        for candidate in scored:
            if len(best) == beam:
                break
            others = [one for kept in [*levels, best] for one in kept]
            if not any((one.mask == candidate.mask).all() for one in others):
                best.append(candidate)
        levels.append(best)
    return levels


def extensions(parents, concepts):
    for steps, parent, _ in parents:
        for c, concept in enumerate(concepts):
            if c in {used for _, used in steps}:
                continue
            for operator in OPERATORS:
                mask = apply(parent, operator, concept)
                if not (mask == parent).all() and not (mask == concept).all():
                    yield (*steps, (operator, c)), mask


def largest_score(target, concepts, length, penalty):
    """The largest score of all formulas of up to ``length`` concepts, each in any place any number of times."""
    best = -np.inf
    for n in range(1, length + 1):
        for chosen in product(range(len(concepts)), repeat=n):
            for operators in product(OPERATORS, repeat=n - 1):
                mask = concepts[chosen[0]]
                for operator, c in zip(operators, chosen[1:], strict=True):
                    mask = apply(mask, operator, concepts[c])
                if (mask & target).any():
                    best = max(best, iou(mask, target) - penalty * (n - 1))
    return best


def evaluate(text, masks):
    """Rows of a formula's text over masks by name, read as SQL reads a condition: NOT before AND before OR."""
    tokens = list(_tokens(text))
    value = _disjunction(tokens, masks)
    assert not tokens, f"left over: {tokens}"
    return value


def _tokens(text):
    place = 0
    while place < len(text):
        if text[place] == " ":
            place += 1
        elif text[place] in "()":
            yield ("sign", text[place])
            place += 1
        elif text[place] == '"':
            name, place = "", place + 1
            while text[place] != '"' or text[place : place + 2] == '""':
                name += text[place]
                place += 2 if text[place] == '"' else 1
            yield ("name", name)
            place += 1
        else:
            end = place
            while end < len(text) and text[end] not in ' ()"':
                end += 1
            word = text[place:end]
            yield ("sign" if word in ("AND", "OR", "NOT") else "name", word)
            place = end


def _disjunction(tokens, masks):
    value = _conjunction(tokens, masks)
    while tokens and tokens[0] == ("sign", "OR"):
        tokens.pop(0)
        value = value | _conjunction(tokens, masks)
    return value


def _conjunction(tokens, masks):
    value = _leaf(tokens, masks)
    while tokens and tokens[0] == ("sign", "AND"):
        tokens.pop(0)
        value = value & _leaf(tokens, masks)
    return value


def _leaf(tokens, masks):
    kind, word = tokens.pop(0)
    if (kind, word) == ("sign", "NOT"):
        return ~_leaf(tokens, masks)
    if (kind, word) == ("sign", "("):
        value = _disjunction(tokens, masks)
        assert tokens.pop(0) == ("sign", ")")
        return value
    assert kind == "name", f"{word!r} where a name should be"
    return masks[word]
