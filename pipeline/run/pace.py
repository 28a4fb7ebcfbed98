"""Pace: how fast pieces of work were finished lately and overall, from nothing but when each was finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Seconds that count as lately, and pieces that do however long ago they were.
RECENT_SECONDS = 300.0
RECENT_PIECES = 10


@dataclass(frozen=True)
class Pace:
    """Amounts per second; None where too few pieces tell it. Times are Unix times."""

    recent: float | None = None
    """Over the last five minutes or ten pieces, whichever is more, up to now: it falls while nothing is finished.

    None once nothing is left to do."""
    overall: float | None = None
    """From the first piece to the last, pauses included."""
    last: float | None = None
    """When the last piece was finished."""

    def seconds_left(self, amount: float) -> float | None:
        """Time for ``amount`` more at the recent pace."""
        return amount / self.recent if self.recent else None


def pace(pieces: Sequence[tuple[float, float]], now: float | None) -> Pace:
    """Pace of ``pieces``, each the time it was finished and its amount, in any order.

    ``now`` is None where the work is complete: then nothing is going on that could have a recent pace.
    The amount of the first piece of a span was worked on before the span, so it does not count in it.
    """
    if not pieces:
        return Pace()
    ordered = sorted(pieces)
    first, last = ordered[0][0], ordered[-1][0]
    overall = _rate(ordered, last) if last > first else None
    if now is None:
        return Pace(None, overall, last)
    recent = min(
        next((index for index, (at, _) in enumerate(ordered) if at >= now - RECENT_SECONDS), len(ordered)),
        max(len(ordered) - RECENT_PIECES, 0),
    )
    return Pace(_rate(ordered[recent:], now), overall, last)


def _rate(span: Sequence[tuple[float, float]], until: float) -> float | None:
    seconds = until - span[0][0]
    return sum(amount for _, amount in span[1:]) / seconds if len(span) > 1 and seconds > 0 else None
