"""The store's corpus: one per store, recorded in ``corpus.json`` with its summary and how it was cut into shards."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.corpus.sources import digest, expand
from pipeline.corpus.summary import CorpusSummary
from pipeline.store.store import Store
from schemas.config import CorpusConfig
from schemas.errors import ConfigError, CorpusError
from schemas.fingerprints import fingerprint

_RECORD = "corpus.json"
_COMPLETE = "corpus-complete.json"


@dataclass(frozen=True)
class CorpusRecord:
    """What ``corpus.json`` says of the store's corpus: its summary and how it was cut."""

    summary: CorpusSummary
    corpus: CorpusConfig
    rows_per_shard: int
    cut_by: str

    @property
    def fingerprint(self) -> str:
        """Identity of the corpus and its shards."""
        return fingerprint(kind="corpus", corpus=self.summary.fingerprint, rows=self.rows_per_shard, cut_by=self.cut_by)


def choose_record(store: Store, wanted: CorpusRecord, rows_asked: int | None) -> CorpusRecord:
    """The record to work by: the store's own, or ``wanted`` where it has none yet (nothing is written).

    Raises :class:`ConfigError` where the store's corpus is another one, is cut otherwise than ``rows_asked``
    says, or is still being cut by another tokenisation.
    """
    if not store.exists(_RECORD):
        return wanted
    found = load_corpus_record(store)
    if found.summary.fingerprint != wanted.summary.fingerprint:
        raise ConfigError(
            f"store {store.url} holds another corpus: {_corpus_difference(found.summary, wanted.summary)}; "
            "a store has one corpus, so give this one a `store` of its own. Nothing was changed"
        )
    if rows_asked is not None and rows_asked != found.rows_per_shard:
        raise ConfigError(
            f"dump.rows_per_shard: the store's corpus is already cut at {found.rows_per_shard} rows, got "
            f"{rows_asked}; drop the key or use another `store`"
        )
    if found.cut_by != wanted.cut_by and not is_cut(store):
        raise ConfigError(
            f"store {store.url}: a plan with another tokenizer, encoding or unit is still cutting this corpus; "
            "finish that one first (start it again with its own config), or use another `store`. Nothing was changed"
        )
    return found


def claim_corpus(store: Store, record: CorpusRecord) -> None:
    """Write the record, with the first shard; raises :class:`ConfigError` if another plan was faster."""
    data = {
        "summary": json.loads(record.summary.to_json()),
        "corpus": record.corpus.model_dump(mode="json"),
        "rows_per_shard": record.rows_per_shard,
        "cut_by": record.cut_by,
    }
    if not store.put_json_new(_RECORD, data):
        choose_record(store, record, record.rows_per_shard)


def is_cut(store: Store) -> bool:
    """Whether all shards of the corpus were written, and still have their receipts."""
    return store.exists(_COMPLETE) and len(store.receipts("corpus")) == store.read_json(_COMPLETE)["n_shards"]


def finish_corpus(store: Store, n_shards: int) -> None:
    """Record that the corpus is cut."""
    store.put_json_new(_COMPLETE, {"n_shards": n_shards})


def load_corpus_record(store: Store) -> CorpusRecord:
    """Read ``corpus.json``."""
    data = store.read_json(_RECORD)
    return CorpusRecord(
        CorpusSummary.from_json(json.dumps(data["summary"])),
        CorpusConfig.model_validate(data["corpus"]),
        data["rows_per_shard"],
        data["cut_by"],
    )


def refuse_changed_files(store: Store, record: CorpusRecord) -> None:
    """Raise :class:`ConfigError` if a file of the corpus has changed since it was read; one that is gone is fine."""
    known = {source["name"]: source["sha256"] for source in record.summary.sources}
    try:
        sources = expand(record.corpus)
    except CorpusError:  # moved away since: the store has all that is needed of it
        return
    for source in sources:
        found = digest(source).sha256
        if source.name in known and known[source.name] != found:
            raise ConfigError(
                f"store {store.url}: {source.name} has changed since it was read (sha256 {known[source.name][:12]}… → "
                f"{found[:12]}…); put the old file back to go on, or use another `store`. Nothing was changed"
            )


def _corpus_difference(old: CorpusSummary, new: CorpusSummary) -> str:
    before = {source["name"]: source for source in old.sources}
    after = {source["name"]: source for source in new.sources}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            return f"{name} is not in the new one"
        if name not in before:
            return f"{name} is not in the old one"
        if before[name]["sha256"] != after[name]["sha256"]:
            return f"{name} has changed (sha256 {before[name]['sha256'][:12]}… → {after[name]['sha256'][:12]}…)"
    return "the same files are read with other options"
