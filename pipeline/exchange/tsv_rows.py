"""Writer of a table of rows as plain TSV: no quoting, so a cell holds neither a tab nor the end of a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.errors import ExchangeError

_BREAKS = str.maketrans(dict.fromkeys("\t\n\r", "\t"))


class TsvRows:
    """A header, then a line per row."""

    def __init__(self, file: Path, columns: Sequence[str], labels: Sequence[str]) -> None:
        self._names = [*columns, *labels]
        self._free = [name for name in columns if name != "position"]
        for name in self._names:
            self._check(name, "the column")
        self._handle = file.open("wb")
        self._handle.write(("\t".join(self._names) + "\n").encode())

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows. Raises :class:`ExchangeError` for a cell that TSV cannot hold."""
        for name in self._free:
            if "\t" in "".join(value or "" for value in columns[name]).translate(_BREAKS):
                for value in columns[name]:
                    self._check(value or "", name)
        cells = [["" if value is None else str(value) for value in columns[name]] for name in self._names]
        self._handle.write("".join("\t".join(row) + "\n" for row in zip(*cells, strict=True)).encode())

    def _check(self, text: str, what: str) -> None:
        if "\t" in text.translate(_BREAKS):
            raise ExchangeError(
                f"{what} {text[:100]!r}: a cell of a TSV holds no tab and no end of a line; write the rows as Parquet "
                "(--rows parquet)"
            )

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
