"""The first pass over a corpus: learn its label layers, sizes, splits and checksums, in bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.corpus.layer_names import check_found
from pipeline.corpus.reader import Handler, read_corpus
from pipeline.corpus.sentence import Quarantined, Sentence
from pipeline.corpus.sources import Source, digest, expand
from pipeline.corpus.streams import Digest
from pipeline.corpus.summary import MAX_VALUES, CorpusSummary
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

#: Part of the fingerprint; raised whenever a reader gives other sentences for the same bytes.
READER_VERSION = 4


class _Tally:
    """Running counts over sentences."""

    def __init__(self) -> None:
        self.n_documents = self.n_sentences = self.n_words = self.n_chars = self.n_quarantined = 0
        self.layers: dict[str, Counter[str | None]] = {}
        self.sentence_labels: dict[str, Counter[str | None]] = {}
        self.document_labels: dict[str, Counter[str | None]] = {}
        self.splits: Counter[str] = Counter()
        self.open_layers: set[str] = set()
        self._document: tuple[str, str] | None = None

    def add(self, sentence: Sentence) -> None:
        self.n_sentences += 1
        self.n_words += len(sentence.words)
        self.n_chars += len(sentence.text)
        self.splits[sentence.split or ""] += 1
        for layer, values in sentence.layers.items():
            self._count(self.layers, layer, values)
        for label, value in sentence.labels.items():
            self._count(self.sentence_labels, label, (value,))
        document = (sentence.source, sentence.document)
        if document != self._document:
            self._document = document
            self.n_documents += 1
            for label, value in sentence.document_labels.items():
                self._count(self.document_labels, label, (value,))

    def quarantined(self, item: Quarantined) -> None:
        self.n_quarantined += item.n_pieces

    def _count(self, counts: dict[str, Counter[str | None]], name: str, values: Iterable[str | None]) -> None:
        counter = counts.get(name)
        if counter is None:
            counter = counts[name] = Counter()
        if len(counter) <= MAX_VALUES:
            counter.update(values)
        else:
            self.open_layers.add(name)
            counter.update(value for value in values if value in counter)


def scan(
    config: CorpusConfig, quarantine: Handler | None = None, each: Callable[[Sentence], None] | None = None
) -> CorpusSummary:
    """Read a corpus once and count what is in it; ``each`` is shown every sentence.

    Raises :class:`CorpusError` for bad input (unless the config skips it), for layers whose names differ only in case,
    and for a corpus without a sentence.
    """
    tally = _Tally()
    digests: dict[str, Digest] = {}

    def set_aside(item: Quarantined) -> None:
        tally.quarantined(item)
        if quarantine:
            quarantine(item)

    for sentence in read_corpus(config, set_aside, digests=digests):
        tally.add(sentence)
        if each:
            each(sentence)
    paths = ", ".join(source.path for source in config.sources)
    if not tally.n_sentences:
        raise CorpusError(
            f"{paths}: a corpus must have a sentence, and {tally.n_quarantined} pieces were skipped; "
            "check corpus.format and the files"
        )
    check_found(tally.layers, paths)
    _check_drawn(config, tally.splits)
    sources = _sources(expand(config), digests)
    return CorpusSummary(
        n_documents=tally.n_documents,
        n_sentences=tally.n_sentences,
        n_words=tally.n_words,
        n_chars=tally.n_chars,
        n_quarantined=tally.n_quarantined,
        layers=_plain(tally.layers),
        sentence_labels=_plain(tally.sentence_labels),
        document_labels=_plain(tally.document_labels),
        splits=dict(sorted(tally.splits.items())),
        sources=sources,
        fingerprint=corpus_fingerprint(config, sources),
        open_layers=sorted(tally.open_layers),
    )


def _check_drawn(config: CorpusConfig, splits: Mapping[str, int]) -> None:
    """Refuse a hash split that left a split with a share of more than 0 without a sentence."""
    if config.split is None:
        return
    shares = {"test": config.split.test, "dev": config.split.dev}
    shares["train"] = 1 - sum(shares.values())
    empty = [name for name, share in shares.items() if share > 1e-9 and not splits.get(name)]
    if empty:
        raise CorpusError(
            f"corpus.split: every split with a share must get a {config.split.by}, and {', '.join(empty)} got none; "
            "draw `by: sentence`, make documents smaller (corpus.document_per), or take another seed"
        )


def corpus_fingerprint(config: CorpusConfig, sources: Iterable[dict[str, Any]]) -> str:
    """SHA-256 (hex) of everything that decides which sentences come out; moving the files elsewhere changes nothing."""
    settings = config.model_dump(mode="json", exclude={"sources"})
    files = [[s["relative"], s["n_bytes"], s["sha256"], s["split"]] for s in sources]
    payload = json.dumps([READER_VERSION, settings, files], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(payload.encode()).hexdigest()


def _sources(sources: Iterable[Source], digests: dict[str, Digest]) -> list[dict[str, Any]]:
    rows = []
    for source in sources:
        for file in (source, *(label_file for _, label_file in source.label_files)):
            found = digests.get(file.name) or digest(file)
            rows.append(
                {
                    "name": file.name,
                    "relative": file.relative,
                    "n_bytes": found.n_bytes,
                    "sha256": found.sha256,
                    "split": source.split,
                }
            )
    return rows


def _plain(counts: dict[str, Counter[str | None]]) -> dict[str, dict[str, int]]:
    """Counts without "no value", most frequent first (ties by value); layers in name order."""
    result = {}
    for name in sorted(counts):
        values = ((value, n) for value, n in counts[name].items() if value is not None)
        result[name] = dict(sorted(values, key=lambda item: (-item[1], item[0])))
    return result
