"""Rates from the times that pieces were finished."""

from __future__ import annotations

import pytest

from pipeline.run.pace import RECENT_PIECES, RECENT_SECONDS, Pace, pace


def test_too_few_pieces_tell_nothing():
    assert pace([], 100.0) == Pace()
    assert pace([(90.0, 5.0)], 100.0) == Pace(None, None, 90.0)
    assert Pace().seconds_left(10) is None
    assert pace([(90.0, 5.0), (90.0, 5.0)], 90.0) == Pace(None, None, 90.0)


def test_the_first_piece_was_worked_on_before():
    found = pace([(30.0, 7.0), (10.0, 1000.0), (20.0, 3.0)], 30.0)
    assert found == Pace(10 / 20, 10 / 20, 30.0)
    assert found.seconds_left(100) == 200


def test_lately_is_up_to_now():
    assert pace([(0.0, 1.0), (10.0, 100.0)], 50.0) == Pace(2.0, 10.0, 10.0)


def test_what_is_complete_has_no_pace_of_lately():
    pieces = [(0.0, 1.0), (10.0, 100.0)]
    assert pace(pieces, None) == Pace(None, 10.0, 10.0)
    assert pace(pieces, 5e9).recent is not None


def test_lately_is_five_minutes():
    old = [(float(at), 1.0) for at in range(100)]
    new = [(1000.0 + at, 50.0) for at in range(20)]
    found = pace(old + new, 1020.0)
    assert found.recent == pytest.approx(19 * 50 / 20)
    assert found.overall == pytest.approx((99 + 1000) / 1019)
    assert 1020.0 - RECENT_SECONDS > 100


def test_slow_pieces_count_lately_too():
    """A piece an hour: the last ten tell the pace, not the last five minutes."""
    pieces = [(3600.0 * number, 36.0 if number > 15 else 720.0) for number in range(20)]
    now = 3600.0 * 19 + 1
    found = pace(pieces, now)
    span = [amount for _, amount in pieces[-RECENT_PIECES:]][1:]
    assert found.recent == pytest.approx(sum(span) / (now - 3600.0 * 10))
