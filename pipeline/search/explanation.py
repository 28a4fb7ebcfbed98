"""Compositional explanations: the formula over concepts whose rows are most like those where a neuron is active.

A neuron is active where x > q_{1−α}, strict, with numpy's linear quantile over all rows; of −x for the low tail. Of the
formulas that the beam search keeps (:mod:`pipeline.search.formula_beam`) the explanation is that of the largest score,
IoU − penalty · (length − 1). (Mu & Andreas 2020.)

A neuron is **polysemous** when its formula, written as an OR of ANDs, has at least two operands that each cover at
least :data:`CLEAR_SHARE` of the formula's true positives which no other operand covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.search.bit_masks import ConceptMasks, Words, count, pack
from pipeline.search.formula import Formula
from pipeline.search.formula_beam import Overlaps, search_beam
from pipeline.stats.quantiles import linear_quantile
from schemas.errors import UsageError

#: Share of the true positives that an operand has to cover alone to be one of a neuron's senses.
CLEAR_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class FormulaSettings:
    """What decides an explanation."""

    alpha: float = 0.005
    """Share of rows above the threshold."""
    beam: int = 10
    """Formulas kept of each length."""
    length: int = 5
    """Concepts of a formula at most."""
    penalty: float = 0.01
    """Taken off the IoU for every concept after the first."""

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what is out of range."""
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha must lie strictly between 0 and 1, got {self.alpha}")
        for name, value in (("beam", self.beam), ("length", self.length)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.penalty < np.inf:
            raise UsageError(f"penalty must be 0 or more and finite, got {self.penalty}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The best formula of one neuron. Without an active row, or a concept on one, ``formula`` and its scores are None.

    ``n_both`` rows of ``n_rows`` are of both the formula (``n_formula``) and the neuron (``n_active``).
    """

    neuron: int
    sign: int
    """+1: high values, x > threshold; −1: low values, x < threshold."""
    formula: str | None
    concepts: tuple[str, ...]
    """The formula's concepts, in the order in which they were added."""
    iou: float | None
    score: float | None
    """IoU − penalty · (length − 1)."""
    heldout_iou: float | None
    """IoU on other rows with this formula and threshold; None without them, or where both masks are empty."""
    threshold: float | None
    """On the scale of x; None without rows."""
    n_rows: int
    n_active: int
    n_formula: int | None
    n_both: int | None
    operands: tuple[str, ...]
    """The formula as an OR of ANDs, the largest share first."""
    operand_shares: tuple[float, ...]
    """Share of the true positives that each operand covers and no other."""

    @property
    def length(self) -> int:
        """Number of concepts; 0 without a formula."""
        return len(self.concepts)

    @property
    def senses(self) -> tuple[str, ...]:
        """Operands with a share of at least :data:`CLEAR_SHARE`; two or more for a polysemous neuron."""
        shares = zip(self.operands, self.operand_shares, strict=True)
        return tuple(operand for operand, share in shares if share >= CLEAR_SHARE)

    @property
    def is_polysemous(self) -> bool:
        """Whether several operands clearly contribute."""
        return len(self.senses) > 1


class Explainer:
    """Explains neurons over the same rows and concepts, one at a time; threads may share it."""

    def __init__(
        self,
        masks: ConceptMasks,
        names: tuple[str, ...],
        settings: FormulaSettings,
        heldout: ConceptMasks | None = None,
    ) -> None:
        self.masks, self.names, self.settings, self.heldout = masks, names, settings, heldout
        self.overlaps = Overlaps(masks)

    def explain(
        self, neuron: int, values: NDArray[Any], heldout: NDArray[Any] | None = None, sign: int = 1
    ) -> Explanation:
        """The best formula for ``values`` (T,), finite floats; its IoU on ``heldout`` values of the held-out rows."""
        x = values * np.float64(sign)
        cut = linear_quantile(x, 1 - self.settings.alpha) if len(x) else None
        active = pack(x > cut) if cut is not None else np.zeros(0, np.uint64)
        beam = search_beam(self.overlaps, active, beam=self.settings.beam, length=self.settings.length)
        found = beam.best(self.settings.penalty)
        threshold = None if cut is None else cut * sign + 0.0
        if found is None:
            return Explanation(
                neuron,
                sign,
                None,
                (),
                None,
                None,
                None,
                threshold,
                self.masks.n_rows,
                beam.n_active,
                None,
                None,
                (),
                (),
            )
        shares = self._shares(found.formula, active, found.n_both)
        return Explanation(
            neuron=neuron,
            sign=sign,
            formula=found.formula.text(self.names),
            concepts=tuple(self.names[concept] for concept in found.formula.concepts),
            iou=found.iou,
            score=found.score(self.settings.penalty),
            heldout_iou=self._heldout_iou(found.formula, heldout, sign, cut),
            threshold=threshold,
            n_rows=self.masks.n_rows,
            n_active=found.n_active,
            n_formula=found.n_formula,
            n_both=found.n_both,
            operands=tuple(operand for operand, _ in shares),
            operand_shares=tuple(share for _, share in shares),
        )

    def _heldout_iou(self, formula: Formula, values: NDArray[Any] | None, sign: int, cut: float | None) -> float | None:
        if values is None or self.heldout is None or cut is None:
            return None
        active, predicted = pack(values * np.float64(sign) > cut), formula.mask(self.heldout.words)
        union = count(active | predicted)
        return count(active & predicted) / union if union else None

    def _shares(self, formula: Formula, active: Words, n_both: int) -> list[tuple[str, float]]:
        """Every operand's text and the share of the true positives that it alone covers, the largest first."""
        operands = formula.operands()
        masks = [operand.mask(self.masks.words) & active for operand in operands]
        once, twice = np.zeros_like(active), np.zeros_like(active)
        for mask in masks:
            twice |= once & mask
            once |= mask
        found = [
            (operand.text(self.names), count(mask & ~twice) / n_both)
            for operand, mask in zip(operands, masks, strict=True)
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))
