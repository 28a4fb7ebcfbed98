"""One iterator over a whole corpus, whatever its format: the only way the rest of the pipeline reads text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.corpus.conll import read_conll
from pipeline.corpus.conllu import read_conllu
from pipeline.corpus.jsonl import read_jsonl
from pipeline.corpus.layer_names import check_declared
from pipeline.corpus.paired import read_paired
from pipeline.corpus.parquet import MAGIC, read_parquet, read_parquet_sentences
from pipeline.corpus.passage import Passage, rule_sentences
from pipeline.corpus.sentence import Quarantined, Sentence, quarantine
from pipeline.corpus.sentence_records import read_sentence_records
from pipeline.corpus.sources import Source, expand
from pipeline.corpus.streams import COMPRESSIONS, Digest, SourceStream, open_source
from pipeline.corpus.text import read_text
from schemas.config import CorpusConfig, HashSplit
from schemas.errors import ConfigError, CorpusError

PLAIN_TEXT = ("text", "jsonl", "parquet")
_FORMAT_OF_SUFFIX = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".conllu": "conllu",
    ".conll": "conll", ".tsv": "conll", ".iob": "conll", ".bio": "conll",
}  # fmt: skip

Handler = Callable[[Quarantined], None]


def read_corpus(
    config: CorpusConfig, quarantine: Handler | None = None, *, digests: dict[str, Digest] | None = None
) -> Iterator[Sentence]:
    """Every sentence of a corpus in order, each with at least one word; sentences of a document are contiguous.

    A document ends where ``(source, document)`` changes; sentence names are unique in it (a second ``x`` becomes
    ``x~2``). Bad input raises :class:`CorpusError` naming file:line, rule, value and way out; with `on_error: skip` it
    goes to ``quarantine`` instead and reading goes on. ``digests`` receives each file's digest, once it was read to
    its end, by name. Reading twice gives the same sentences.
    """
    check_split(config)
    names = _UniqueNames()
    for source in expand(config):
        n = 0
        are_numbered = format_of(source, config) == "text"  # unique as they are; a file may be one document of any size
        for item in _read_source(source, config, digests if digests is not None else {}):
            n += 1
            if isinstance(item, Quarantined):
                _handle(item, config, quarantine)
            else:
                yield _with_split(item if are_numbered else names.unique(item), config.split)
        if not n:
            _handle(_empty(source), config, quarantine)


def read_passages(config: CorpusConfig, quarantine: Handler | None = None) -> Iterator[Passage]:
    """Every passage of a plain-text corpus (`text`, `jsonl`, `parquet`) in order, for a tagger to cut up.

    Hash splits are not drawn here: they belong to the sentences that come of it.
    """
    check_split(config)
    for source in expand(config):
        n = 0
        kind = format_of(source, config)
        with open_source(source.name, source.url) as stream:
            _check_parquet(stream, source, kind)
            for item in _passages(stream, source, config, kind):
                n += 1
                if isinstance(item, Quarantined):
                    _handle(item, config, quarantine)
                else:
                    yield item
        if not n:
            _handle(_empty(source), config, quarantine)


def format_of(source: Source, config: CorpusConfig) -> str:
    """The config's format, or for `auto` what the file's name says, compression suffix aside."""
    if config.format == "import":
        raise ConfigError(
            "corpus.format: `import` stands in stores that `neuronmill import` made; the rows are in the store: "
            "work on it with --store, or name the format of a corpus"
        )
    if config.format != "auto":
        return config.format
    suffix = _suffix(source.relative)
    if suffix not in _FORMAT_OF_SUFFIX:
        raise CorpusError(
            f"{source.name}: corpus.format is `auto`, which goes by file name, and {suffix or 'no suffix'!r} is "
            f"not one of {', '.join(_FORMAT_OF_SUFFIX)}; set corpus.format (`init`: --format), or leave the file out "
            "with a glob"
        )
    return _FORMAT_OF_SUFFIX[suffix]


def known_format(name: str) -> str | None:
    """The format that a file's name says, compression suffix aside; ``None`` where it says none."""
    return _FORMAT_OF_SUFFIX.get(_suffix(name))


def _suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


def check_split(config: CorpusConfig) -> None:
    """Refuse shares of a hash split that add up to more than everything, and layer names that cannot be columns."""
    check_declared(config.columns, "corpus.columns")
    if config.split and config.split.test + config.split.dev > 1:
        raise ConfigError(
            f"corpus.split: test + dev must be at most 1, got {config.split.test} + {config.split.dev}; lower one"
        )


def draw_split(split: HashSplit, document: str, sentence: str) -> str:
    """Split of a document or sentence: a uniform draw from BLAKE2b of seed and name, the same on every machine."""
    name = document if split.by == "document" else f"{document}\0{sentence}"
    drawn = hashlib.blake2b(f"{split.seed}\0{name}".encode(), digest_size=8).digest()
    share = int.from_bytes(drawn, "big") / 2**64
    if share < split.test:
        return "test"
    return "dev" if share < split.test + split.dev else "train"


class _UniqueNames:
    """Sentence names that are unique in their document; remembers one document at a time."""

    def __init__(self) -> None:
        self._document: tuple[str, str] | None = None
        self._counts: dict[str, int] = {}

    def unique(self, sentence: Sentence) -> Sentence:
        document = (sentence.source, sentence.document)
        if document != self._document:
            self._document, self._counts = document, {}
        count = self._counts.get(sentence.sentence, 0) + 1
        self._counts[sentence.sentence] = count
        if count == 1:
            return sentence
        return self.unique(replace(sentence, sentence=f"{sentence.sentence}~{count}"))


def _with_split(sentence: Sentence, split: HashSplit | None) -> Sentence:
    if split is None:
        return sentence
    if sentence.split is not None:
        raise CorpusError(
            f"{sentence.source}:{sentence.line}: corpus.split draws a split, and the file says {sentence.split!r} "
            "itself; drop corpus.split"
        )
    return replace(sentence, split=draw_split(split, sentence.document, sentence.sentence))


def _handle(item: Quarantined, config: CorpusConfig, handler: Handler | None) -> None:
    if config.on_error == "raise":
        raise CorpusError(item.message)
    if handler:
        handler(item)


def _empty(source: Source) -> Quarantined:
    return quarantine(
        source.name, 1, "a corpus file must have a sentence", "", "leave the file out, or use --on-error skip"
    )


def _read_source(source: Source, config: CorpusConfig, digests: dict[str, Digest]) -> Iterator[Sentence | Quarantined]:
    kind = format_of(source, config)
    with open_source(source.name, source.url) as stream:
        is_parquet = _check_parquet(stream, source, kind)
        if kind == "conllu":
            yield from read_conllu(stream, source)
        elif kind == "conll":
            yield from read_conll(stream, source, config)
        elif kind == "paired":
            yield from read_paired(stream, source, digests)
        elif kind == "sentences" and is_parquet:
            yield from read_parquet_sentences(source, config)
        elif kind == "sentences":
            yield from read_sentence_records(stream, source, config)
        else:
            per = config.sentence_per if kind == "text" else "rule"
            yield from rule_sentences(_passages(stream, source, config, kind), per)
        digests[source.name] = stream.digest()


def _check_parquet(stream: SourceStream, source: Source, kind: str) -> bool:
    """Whether a file is Parquet; refuses one that the format cannot be."""
    is_parquet = stream.starts_with(MAGIC)
    if kind == "sentences":
        return is_parquet or source.relative.lower().endswith(".parquet")
    if is_parquet and kind != "parquet":
        raise CorpusError(
            f"{source.name}:1: the file is Parquet, and it is read as {kind}; set corpus.format (`init`: --format) to "
            "`parquet` for a document a row, or to `sentences` for a sentence a row"
        )
    return is_parquet


def _passages(stream: SourceStream, source: Source, config: CorpusConfig, kind: str) -> Iterator[Passage | Quarantined]:
    if kind == "text":
        return read_text(stream, source, config)
    if kind == "jsonl":
        return read_jsonl(stream, source, config)
    if kind == "parquet":
        return read_parquet(source, config)
    raise ConfigError(
        f"annotate: only {', '.join(PLAIN_TEXT)} can be annotated, and {source.name} is {kind}; drop `annotate`"
    )
