"""What a corpus is, told from its files: format, field names, label fields, label files. Only `init` guesses."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from fsspec.core import url_to_fs

from pipeline.corpus.json_record import is_string_list, label_value, parse_record
from pipeline.corpus.layer_names import layer_name
from pipeline.corpus.parquet import MAGIC, first_rows
from pipeline.corpus.reader import format_of, known_format
from pipeline.corpus.sentence_records import word_values
from pipeline.corpus.sources import Source, expand, label_places
from pipeline.corpus.splitting import split_sentences
from pipeline.corpus.streams import COMPRESSIONS, compression_of, is_file, open_source
from pipeline.corpus.urls import split_chain
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

_RECORDS = 200  # read from the first file to tell its fields
_LINES = 20  # that a label file must agree on with its word file
_FILES = 20  # looked at for label files beside them
_SENTENCES = 1.5  # a text; more on average are documents
_WORD_FILES = (
    "",
    ".txt",
    ".text",
    ".word",
    ".words",
    ".tok",
)  # suffixes of files that may have label files beside them


@dataclass(frozen=True)
class Guess:
    """The config of a corpus, and the fields of its records that it takes nothing from: name, why."""

    config: CorpusConfig
    left_out: dict[str, str] = field(default_factory=dict)


def guess_corpus(path: str, file_format: str = "auto") -> Guess:
    """The config of the corpus at ``path`` (file, folder, glob or URL), with every label field and file it has.

    With ``auto``, a word file beside label files of as many fields a line (``FILE.NAME``, or ``STEM.NAME`` such as
    train.word and train.label) is `paired`; JSONL and Parquet whose records have words, a target or about one sentence
    each is `sentences`; all else goes by file name. Raises :class:`CorpusError` for a path without files and a file
    whose format cannot be told.
    """
    base = CorpusConfig.model_validate({"sources": [path]})
    sources = expand(base)
    if file_format in ("auto", "paired"):
        for source in islice(filter(_is_word_file, sources), _FILES):
            if layers := _label_files(source):
                return Guess(_paired(base, sources, layers))
    if file_format != "auto":
        base = _with(base, format=file_format)
    if file_format == "paired":
        raise CorpusError(
            f"{path}: `paired` needs label files beside a word file, FILE.NAME or STEM.NAME (train.word, train.label), "
            "with a label for each word, and there are none; add them or give another format"
        )
    formats = {format_of(source, base) for source in sources}
    if len(formats) > 1:
        return Guess(base)
    kind = formats.pop()
    if kind in ("jsonl", "sentences", "parquet"):
        return _of_records(base, kind, _first_records(sources[0], kind), may_change=file_format == "auto")
    return Guess(_with(base, format=kind))


def _paired(base: CorpusConfig, sources: Sequence[Source], layers: Sequence[str]) -> CorpusConfig:
    """The path as it is where all of it is word files and their label files, else its word files that have them all."""
    config = _with(base, format="paired", columns=layers)
    try:
        expand(config)
    except CorpusError:
        files = [s for s in sources if _is_word_file(s) and all(is_file(_first_place(s, name)) for name in layers)]
        return _with(config, sources=[file.name for file in files])
    return config


def _with(config: CorpusConfig, **settings: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(config.model_dump(mode="json") | settings)


def _first_records(source: Source, kind: str) -> list[dict[str, Any]]:
    with open_source(source.name, source.url) as stream:
        if kind == "parquet" or (kind == "sentences" and stream.starts_with(MAGIC)):
            return first_rows(source, _RECORDS)
        lines = islice(((number, raw) for number, raw in stream.lines() if raw.strip()), _RECORDS)
        records = [parse_record(raw, source.name, number) for number, raw in lines]
    return [record for record in records if isinstance(record, dict)]


def _of_records(base: CorpusConfig, kind: str, records: Sequence[dict[str, Any]], *, may_change: bool) -> Guess:
    text_field = _text_field(records, base.text_field)
    texts = [record[text_field] for record in records if isinstance(record.get(text_field), str)]
    if kind != "sentences" and may_change:
        has_words = any(isinstance(record.get("words"), list) or "target" in record for record in records)
        n_sentences = sum(len(split_sentences(text)) for text in texts)
        if has_words or (texts and n_sentences < _SENTENCES * len(texts)):
            kind = "sentences"
    taken = {text_field, base.id_field, *(("words", "document") if kind == "sentences" else ())}
    fields = [name for name in dict.fromkeys(name for record in records for name in record) if name not in taken]
    layers: list[str] = []
    labels: list[str] = []
    left_out: dict[str, str] = {}
    has_target = kind == "sentences" and any("target" in record for record in records)
    for name in fields:
        if has_target and name in ("target", "sense"):
            continue
        if kind == "sentences" and _is_layer(records, name) and layer_name(name) not in layers:
            layers.append(layer_name(name))
        elif reason := _no_label([record.get(name) for record in records]):
            left_out[name] = reason
        elif has_target:
            left_out[name] = "beside a target's sense; `label_fields` can name it"
        else:
            labels.append(name)
    return Guess(_with(base, format=kind, text_field=text_field, label_fields=labels, columns=layers), left_out)


def _is_layer(records: Sequence[dict[str, Any]], name: str) -> bool:
    """In every record that has the field it is a list of one value per word."""
    found = [(record[name], record.get("words")) for record in records if record.get(name) is not None]
    return bool(found) and all(isinstance(words, list) and word_values(value, len(words)) for value, words in found)


def _text_field(records: Sequence[dict[str, Any]], usual: str) -> str:
    """The usual field, or where no record has it the one with the longest strings."""
    lengths: dict[str, int] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, str):
                lengths[name] = lengths.get(name, 0) + len(value)
    if usual in lengths or not lengths or any("words" in record for record in records):
        return usual
    return max(lengths, key=lambda name: lengths[name])


def _no_label(values: Sequence[object]) -> str:
    """Why a field is no label; empty where its values, or the strings of its lists, are labels that come back."""
    found = [value for value in values if value is not None and value != []]
    if not found:
        return f"empty in the first {len(values)} records"
    if any(isinstance(value, float) for value in found):
        return "numbers with a fraction"
    texts = [text for value in found for text in (value if is_string_list(value) else [label_value(value)])]  # type: ignore[attr-defined]
    if None in texts:
        return "neither strings, whole numbers or booleans, nor lists of strings"
    return "" if len(set(texts)) < len(texts) else f"no value comes twice in the first {len(values)} records"


def _unpacked(source: Source) -> PurePosixPath:
    """The file's relative path without a compression suffix."""
    return PurePosixPath(source.relative[: len(source.relative) - len(compression_of(source.relative) or "")])


def _is_word_file(source: Source) -> bool:
    return _unpacked(source).suffix.lower() in _WORD_FILES


def _label_files(source: Source) -> tuple[str, ...]:
    """Names of the layers in the label files beside a word file."""
    wanted = [name for name in _names_beside(source, _unpacked(source)) if layer_name(name) == name]
    words = _first_fields(source.name, source.url)
    found = []
    for name in wanted:
        place = _first_place(source, name)
        labels = _first_fields(place, place)
        n = min(len(labels), len(words))  # one that ends early is a label file with a fault, which reading names
        if n and list(map(len, labels[:n])) == list(map(len, words[:n])) and labels != words:
            found.append(name)
    return tuple(found)


def _first_place(source: Source, name: str) -> str:
    places = label_places(source.url, name)
    return next((place for place in places if is_file(place)), places[0])


def _names_beside(source: Source, file: PurePosixPath) -> list[str]:
    """NAME of every ``FILE.NAME``, and of every ``STEM.NAME`` that is neither a word file nor of another format."""
    before, place, after = split_chain(source.url)
    folder = place[: len(place) - len(source.relative.rpartition("/")[2])]
    try:
        fs, path = url_to_fs(f"{before}{folder}{file.stem}{after}")
        beside = sorted(PurePosixPath(found).name for found in fs.glob(glob.escape(path) + ".*") if fs.isfile(found))
    except (OSError, ValueError, ImportError) as error:
        raise CorpusError(f"{source.name}: its folder cannot be listed ({error}); check the path") from error
    own = PurePosixPath(source.relative).name
    names = []
    for other in beside:
        if other == own:
            continue
        plain = other[: len(other) - len(compression_of(other) or "")]
        prefix = next(base for base in (f"{own}.", f"{file.name}.", f"{file.stem}.") if plain.startswith(base))
        name = plain.removeprefix(prefix)
        if prefix == f"{file.stem}." and (f".{name.lower()}" in _WORD_FILES or known_format(plain)):
            continue
        if name and f".{name}" not in COMPRESSIONS:
            names.append(name)
    return list(dict.fromkeys(names))


def _first_fields(name: str, url: str) -> list[list[bytes]]:
    with open_source(name, url) as stream:
        return [raw.split() for _, raw in islice(stream.lines(), _LINES)]
