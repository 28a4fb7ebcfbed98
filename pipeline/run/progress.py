"""What a stage tells about itself while it works. The library never prints; jobs give it an observer."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Observer of one stage after the other."""

    def start(self, stage: str, total: int, unit: str, finished: int = 0) -> None:
        """A stage begins with ``total`` units of work, ``finished`` of them done by an earlier run."""

    def advance(self, n: int = 1, *, n_rows: int = 0) -> None:
        """``n`` more units are done; ``n_rows`` rows of work were in them."""

    def finish(self, summary: str) -> None:
        """The stage is over; ``summary`` says what it wrote."""


class Silent:
    """Progress that nobody watches."""

    def start(self, stage: str, total: int, unit: str, finished: int = 0) -> None:
        """Nothing."""

    def advance(self, n: int = 1, *, n_rows: int = 0) -> None:
        """Nothing."""

    def finish(self, summary: str) -> None:
        """Nothing."""
