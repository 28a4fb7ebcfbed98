"""Problems: what verification found to be otherwise than recorded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as recorded."""

    path: str
    """The file."""
    rule: str
    """What does not hold. Of a file: `missing`, `n_bytes`, `sha256`, `unreadable`, `n_rows`, `finite`; of a
    sparse one also `n_values`, `range`, `sorted`, `zero`. Of ids:
    `document_id`, `sentence_id`, `word_id`, `row_id`, `row_space`, `concept`. Of records: `receipt`, `manifest`,
    `snapshot`, `conflict`. Of what was planned: `plan`, `token`."""
    found: str
    """What was found instead, in words."""
    receipts: tuple[str, ...] = ()
    """Paths of the receipts that list the file: with these gone, the same run does that piece again and no other."""

    def __str__(self) -> str:
        named = f" (receipt {', '.join(self.receipts)})" if set(self.receipts) - {self.path} else ""
        return f"{self.path}: {self.rule}: {self.found}{named}"
