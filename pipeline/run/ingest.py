"""Ingest: the corpus, cut into shards of whole sentences, as the tables documents, sentences and words.

The cut is by rows: a shard is closed before the sentence that would take it over ``rows_per_shard`` (a longer sentence
gets a shard of its own), or over :data:`TOKENS_PER_SHARD` tokens where pooling or a sample makes few rows of many. It
depends on the corpus and the first model's tokenisation, never on workers or batches. A document is listed in the shard
of its last sentence, or in the one after where a shard ends with the document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Protocol

from pipeline.corpus.quarantine_list import MAX_LISTED_OF_SHARD, QuarantineList
from pipeline.corpus.sentence import Quarantined, Sentence
from pipeline.extract.encoded import EncodedSentence, SentenceInput
from pipeline.store.parquet import write_table
from pipeline.store.paths import corpus_file
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from schemas.errors import CorpusError, StoreError
from schemas.tables import TABLES, words_schema

#: Sentences handed to the tokenizer at once.
ENCODE_BATCH = 512
#: Tokens of a shard at most: the text of a shard is in memory when it is planned.
TOKENS_PER_SHARD = 2**20
#: Characters handed to it at once, unless one sentence alone has more: a token takes some hundred bytes there.
ENCODE_CHARACTERS = 1 << 20


class SentenceEncoder(Protocol):
    """What makes the tokens of sentences: a tokenizer, or the words as they are."""

    def encode(self, sentences: Sequence[SentenceInput]) -> Sequence[Any]:
        """One encoded sentence each; raises :class:`CorpusError` for one that cannot be."""


@dataclass
class Position:
    """Ids of the next document, sentence and word, and the document that is still open (its source and name)."""

    documents: int = 0
    sentences: int = 0
    words: int = 0
    open_name: tuple[str, str] | None = None
    open_sentences: int = 0
    open_words: int = 0
    open_splits: list[str | None] = field(default_factory=list)
    last: Sentence | None = None

    def facts(self) -> dict[str, Any]:
        """Plain data for a receipt; the last sentence is read again on a resume."""
        return {name: value for name, value in vars(self).items() if name != "last"}


@dataclass
class ShardContent:
    """The sentences of one shard with their ids; ``encoded`` is parallel to ``sentences``."""

    shard: int
    sentences: list[Sentence] = field(default_factory=list)
    encoded: list[EncodedSentence] = field(default_factory=list)
    sentence_ids: list[int] = field(default_factory=list)
    document_ids: list[int] = field(default_factory=list)
    first_words: list[int] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    n_read: int = 0
    """Sentences read for it, those that were skipped included."""
    quarantined: QuarantineList = field(default_factory=lambda: QuarantineList(MAX_LISTED_OF_SHARD))
    """Those that were skipped."""
    after: dict[str, Any] = field(default_factory=dict)
    """The position behind it."""

    def facts(self) -> dict[str, Any]:
        """What the shard's receipt says of it; enough to go on behind it without encoding it again."""
        return {
            "first_sentence": self.sentence_ids[0],
            "n_sentences": len(self.sentences),
            "n_words": sum(len(sentence.words) for sentence in self.sentences),
            "n_read": self.n_read,
            "quarantined": [asdict(item) for item in self.quarantined.items()],
            "after": self.after,
        }


def _close(position: Position) -> dict[str, Any]:
    """The row of ``documents`` for the document that ends here."""
    last = position.last
    assert last is not None  # noqa: S101 - a document is open only after a sentence
    return {
        "document_id": position.documents - 1,
        "document": last.document,
        "source": last.source,
        "split": position.open_splits[0] if len(position.open_splits) == 1 else None,
        "labels": list(last.document_labels.items()),
        "n_sentences": position.open_sentences,
        "n_words": position.open_words,
    }


def _place(sentence: Sentence, position: Position, content: ShardContent) -> None:
    """Give the sentence its ids and put it into the shard."""
    name = (sentence.source, sentence.document)
    if position.open_name != name:
        if position.open_name is not None:
            content.ended.append(_close(position))
        position.open_name, position.open_sentences, position.open_words, position.open_splits = name, 0, 0, []
        position.documents += 1
    if sentence.split not in position.open_splits:
        position.open_splits.append(sentence.split)
    content.sentences.append(sentence)
    content.sentence_ids.append(position.sentences)
    content.document_ids.append(position.documents - 1)
    content.first_words.append(position.words)
    position.sentences += 1
    position.words += len(sentence.words)
    position.open_sentences += 1
    position.open_words += len(sentence.words)
    position.last = sentence


def _encoded(
    sentences: Iterator[Sentence], encoder: SentenceEncoder, skip: bool
) -> Iterator[tuple[Sentence, EncodedSentence | Quarantined]]:
    """Sentences with their tokens; with ``skip``, those that the encoder refuses come with what is wrong."""
    for batch in _batches(sentences):
        try:
            encoded: Sequence[EncodedSentence | Quarantined] = encoder.encode(
                [(s.text, s.words, s.spans) for s in batch]
            )
        except CorpusError:
            encoded = [_encode_one(sentence, encoder, skip) for sentence in batch]  # now with the place
        yield from zip(batch, encoded, strict=True)


def encode_sentences(sentences: Sequence[Sentence], encoder: SentenceEncoder) -> Iterator[EncodedSentence]:
    """Sentences' tokens, in batches of bounded memory; those that the encoder refuses are left out."""
    for _, encoded in _encoded(iter(sentences), encoder, skip=True):
        if not isinstance(encoded, Quarantined):
            yield encoded


def _batches(sentences: Iterator[Sentence]) -> Iterator[list[Sentence]]:
    """Runs of up to :data:`ENCODE_BATCH` sentences with up to :data:`ENCODE_CHARACTERS`; each has at least one."""
    batch: list[Sentence] = []
    n_characters = 0
    for sentence in sentences:
        if batch and (len(batch) == ENCODE_BATCH or n_characters + len(sentence.text) > ENCODE_CHARACTERS):
            yield batch
            batch, n_characters = [], 0
        batch.append(sentence)
        n_characters += len(sentence.text)
    if batch:
        yield batch


def _encode_one(sentence: Sentence, encoder: SentenceEncoder, skip: bool) -> EncodedSentence | Quarantined:
    """Encode one sentence; one that is refused is described, or raises an error with its file and line."""
    try:
        encoded: EncodedSentence = encoder.encode([(sentence.text, sentence.words, sentence.spans)])[0]
    except CorpusError as error:
        if skip:
            excerpt = sentence.text[:200].encode("utf-8", "backslashreplace").decode()
            return Quarantined(sentence.source, sentence.line, str(error), excerpt, "")
        raise CorpusError(f"{sentence.source}:{sentence.line}: {error}") from error
    return encoded


def _resume(sentences: Iterator[Sentence], finished: Sequence[dict[str, Any]]) -> Position:
    """Read past the shards that are written already; the position behind them."""
    if not finished:
        return Position()
    position = Position(**finished[-1]["after"])
    position.open_name = tuple(finished[-1]["after"]["open_name"])
    for sentence in islice(sentences, sum(facts["n_read"] for facts in finished)):
        if (sentence.source, sentence.document) == position.open_name:
            position.last = sentence
    return position


def cut_shards(
    sentences: Iterator[Sentence],
    encoder: SentenceEncoder,
    count_rows: Callable[[Any, int], int],
    rows_per_shard: int,
    finished: Sequence[dict[str, Any]] = (),
    skip: bool = False,
) -> Iterator[ShardContent]:
    """Cut the stream into shards; ``count_rows(encoded, sentence_id)`` are the rows of a sentence.

    ``finished`` holds the receipts' facts of leading shards that are already written: they are read past, neither
    encoded nor yielded. With ``skip``, sentences that the encoder refuses are quarantined instead of an error.
    """
    position = _resume(sentences, finished)
    content, n_rows, n_tokens = ShardContent(len(finished)), 0, 0
    for sentence, encoded in _encoded(sentences, encoder, skip):
        n_new, n_read = 0, 0
        if not isinstance(encoded, Quarantined):
            n_new, n_read = count_rows(encoded, position.sentences), len(encoded)
        if content.sentences and (n_rows + n_new > rows_per_shard or n_tokens + n_read > TOKENS_PER_SHARD):
            content.after = position.facts()
            yield content
            content, n_rows, n_tokens = ShardContent(content.shard + 1), 0, 0
        content.n_read += 1
        if isinstance(encoded, Quarantined):
            content.quarantined.add(encoded)
            continue
        _place(sentence, position, content)
        content.encoded.append(encoded)
        n_rows, n_tokens = n_rows + n_new, n_tokens + n_read
    if content.sentences:
        content.ended.append(_close(position))
        content.after = position.facts()
        yield content


def write_corpus_shard(store: Store, content: ShardContent, layers: tuple[str, ...]) -> None:
    """Write and commit documents, sentences and words of one shard."""
    key = f"shard-{content.shard:05d}"
    with store.staging() as staging:
        rows = {
            "documents": (_document_columns(content), TABLES["documents"].arrow),
            "sentences": (_sentence_columns(content), TABLES["sentences"].arrow),
            "words": (_word_columns(content, layers), words_schema(layers)),
        }
        for table, (columns, schema) in rows.items():
            write_table(staging.path(corpus_file(table, content.shard)), columns, schema)
        receipt = store.commit(staging, "corpus", key, content.facts())
    refuse_other_cut(store, receipt, content.facts())


def refuse_other_cut(store: Store, receipt: Receipt, facts: dict[str, Any]) -> None:
    """Raise :class:`StoreError` if another writer's shard of another cut was there first."""
    if json.dumps(receipt.facts, sort_keys=True) != json.dumps(facts, sort_keys=True):
        raise StoreError(
            f"store {store.url}: {receipt.key} was written by another command that cuts the corpus differently; let "
            "that one finish, or use a `store` of your own. Nothing of it was changed"
        )


def _document_columns(content: ShardContent) -> dict[str, Any]:
    return {name: [row[name] for row in content.ended] for name in TABLES["documents"].arrow.names}


def _sentence_columns(content: ShardContent) -> dict[str, Any]:
    sentences = content.sentences
    return {
        "sentence_id": content.sentence_ids,
        "document_id": content.document_ids,
        "sentence": [s.sentence for s in sentences],
        "text": [s.text for s in sentences],
        "split": [s.split for s in sentences],
        "labels": [list(s.labels.items()) for s in sentences],
        "n_words": [len(s.words) for s in sentences],
    }


def _word_columns(content: ShardContent, layers: tuple[str, ...]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {name: [] for name in TABLES["words"].arrow.names}
    labels: dict[str, list[str | None]] = {layer: [] for layer in layers}
    ids = zip(content.sentences, content.sentence_ids, content.document_ids, content.first_words, strict=True)
    for sentence, sentence_id, document_id, first_word in ids:
        n = len(sentence.words)
        columns["word_id"].extend(range(first_word, first_word + n))
        columns["sentence_id"].extend([sentence_id] * n)
        columns["document_id"].extend([document_id] * n)
        columns["position"].extend(range(n) if sentence.positions is None else sentence.positions)
        columns["word"].extend(sentence.words)
        columns["start"].extend(start for start, _ in sentence.spans)
        columns["end"].extend(end for _, end in sentence.spans)
        columns["split"].extend([sentence.split] * n)
        for layer, values in labels.items():
            values.extend(sentence.layers.get(layer) or [None] * n)
    return {**columns, **labels}
