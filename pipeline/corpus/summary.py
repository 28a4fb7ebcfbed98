"""What one pass over a corpus found out: sizes, splits, checksums, and every label value with its count."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.amounts import counted

#: A layer with more distinct values is open-ended (lemmas of a large corpus): its further values are not counted.
MAX_VALUES = 100_000


@dataclass(frozen=True)
class CorpusSummary:
    """Counts of a corpus.

    ``layers`` count words, ``sentence_labels`` sentences, ``document_labels`` documents, ``splits`` sentences (the
    key ``""`` is "no split"). ``sources`` hold ``name relative n_bytes sha256 split`` per file, label files too.
    ``open_layers`` are those with more than ``MAX_VALUES`` values. ``fingerprint`` covers the files' bytes, their order
    and relative names, and the corpus config.
    """

    n_documents: int
    n_sentences: int
    n_words: int
    n_chars: int
    n_quarantined: int
    layers: dict[str, dict[str, int]]
    sentence_labels: dict[str, dict[str, int]]
    document_labels: dict[str, dict[str, int]]
    splits: dict[str, int]
    sources: list[dict[str, Any]]
    fingerprint: str
    open_layers: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> str:
        """Documents, sentences and words, for people."""
        amounts = {"document": self.n_documents, "sentence": self.n_sentences, "word": self.n_words}
        return ", ".join(counted(n, noun) for noun, n in amounts.items())

    def to_json(self) -> str:
        """The summary as JSON, keys sorted; :meth:`from_json` is the inverse."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CorpusSummary:
        """The summary that :meth:`to_json` wrote."""
        return cls(**json.loads(text))
