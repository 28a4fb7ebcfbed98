"""From rows to sentences: which rows stand together, and the words, names and labels they come with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.corpus.sentence import Sentence, join_words
from pipeline.exchange.row_batch import RowBatch
from schemas.errors import CorpusError

#: Columns that say which row it is; every other one is a label.
IDENTITY = ("document", "sentence", "position", "word")
#: Document of rows that name none.
DOCUMENT = "import"
_SPLITS = ("train", "dev", "test", "")
_MAX_POSITION = 2**31 - 1


@dataclass
class _Open:
    """The sentence that is being put together."""

    document: str
    sentence: str
    line: int
    place: str
    words: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    split: str = ""
    labels: dict[str, list[str | None]] = field(default_factory=dict)


class SentenceBuilder:
    """Sentences of rows in order, one word a row.

    A sentence ends where ``document`` or ``sentence`` changes; without ``sentence``, where ``position`` does not rise.
    Rows with a document alone are one sentence a document; rows with neither are one sentence each: nothing says that
    they stand side by side. A row without ``word`` is called `#` and its number. ``layers`` maps label columns to the
    layers of the words table; ``split`` names the column with the split.
    """

    def __init__(self, source: str, layers: Mapping[str, str], split: str | None) -> None:
        self._source, self._layers, self._split = source, layers, split
        self._documents: set[str] = set()
        self._sentences: set[str] = set()
        self._n_rows = 0
        self._open: _Open | None = None

    def sentences(self, batches: Iterator[RowBatch]) -> Iterator[Sentence]:
        """All sentences of the rows. Raises :class:`CorpusError` naming file:line for rows that cannot be."""
        for batch in batches:
            yield from self._batch(batch)
        if self._open is not None:
            yield self._finish(self._open)

    def _batch(self, batch: RowBatch) -> Iterator[Sentence]:
        given = {name: batch.columns.get(name) for name in IDENTITY}
        documents, names, positions, words = (given[name] for name in IDENTITY)
        splits = batch.columns[self._split] if self._split else None
        labels = [(layer, batch.columns[column]) for column, layer in self._layers.items()]
        for row in range(batch.n_rows):
            document = documents[row] if documents else DOCUMENT
            name = names[row] if names else None
            position = _position(positions[row], batch, row) if positions else None
            now = self._open
            if now is None or self._is_new(now, document, name, position, has_document=documents is not None):
                if now is not None:
                    yield self._finish(now)
                now = self._begin(document, name, batch, row)
            elif position is not None and position <= now.positions[-1]:
                raise CorpusError(
                    f"{batch.place(row)}: positions rise inside a sentence, and {position} follows "
                    f"{now.positions[-1]}; order the rows, or name the sentences"
                )
            now.words.append(words[row] if words else f"#{self._n_rows}")
            now.positions.append(len(now.positions) if position is None else position)
            for layer, values in labels:
                now.labels[layer].append(values[row] or None)
            if splits is not None:
                self._set_split(now, splits[row], batch.place(row))
            self._n_rows += 1

    def _is_new(self, now: _Open, document: str, name: str | None, position: int | None, *, has_document: bool) -> bool:
        if document != now.document or (name is not None and name != now.sentence):
            return True
        if name is not None:
            return False
        if position is not None:
            return position <= now.positions[-1]
        return not has_document

    def _begin(self, document: str, name: str | None, batch: RowBatch, row: int) -> _Open:
        """Open a sentence; one that was there before is refused, for its rows do not stand together."""
        place = batch.place(row)
        if self._open is None or document != self._open.document:
            if document in self._documents or not document:
                rule = (
                    "rows of a document stand together, and %r comes again" if document else "the document is empty%.0r"
                )
                raise CorpusError(f"{place}: {rule % document}; order the rows by document and sentence")
            self._documents.add(document)
            self._sentences = set()
        sentence = str(len(self._sentences) + 1) if name is None else name
        if sentence in self._sentences:
            raise CorpusError(
                f"{place}: rows of a sentence stand together, and sentence {sentence!r} of document {document!r} comes "
                "again; order the rows by document and sentence"
            )
        self._sentences.add(sentence)
        labels: dict[str, list[str | None]] = {layer: [] for layer in self._layers.values()}
        self._open = _Open(document, sentence, batch.lines[row], place, labels=labels)
        return self._open

    def _set_split(self, now: _Open, split: str, place: str) -> None:
        if split not in _SPLITS:
            raise CorpusError(f"{place}: --split-column {self._split}: a split is train, dev, test or empty; {split!r}")
        if len(now.words) > 1 and split != now.split:
            raise CorpusError(
                f"{place}: --split-column {self._split}: all rows of a sentence are in one split; {split!r} follows "
                f"{now.split!r}"
            )
        now.split = split

    def _finish(self, done: _Open) -> Sentence:
        words = tuple(done.words)
        text, spans = join_words(words)
        return Sentence(
            done.document,
            done.sentence,
            text,
            words,
            spans,
            {layer: tuple(values) for layer, values in done.labels.items()},
            split=done.split or None,
            source=self._source,
            line=done.line,
            positions=tuple(done.positions),
        )


def _position(text: str, batch: RowBatch, row: int) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:11]) <= _MAX_POSITION and len(text) <= 10):
        raise CorpusError(
            f"{batch.place(row)}: `position` is the number of the word in its sentence, a whole number from 0; {text!r}"
        )
    return int(text)
