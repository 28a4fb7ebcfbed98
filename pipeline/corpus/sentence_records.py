"""Records of one sentence each: text or words, labels, word layers, or the index of a target word and its sense."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pipeline.corpus.json_record import SKIP, is_string_list, label_value, parse_record, pick_labels, record_name
from pipeline.corpus.layer_names import layer_name
from pipeline.corpus.sentence import Quarantined, Sentence, join_words, locate_words, quarantine
from pipeline.corpus.sources import Source
from pipeline.corpus.splitting import split_words
from pipeline.corpus.streams import MAX_BLOCK_LINES, SourceStream
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

#: Longest text of a record: it cannot be cut like a document, since its words may have labels.
MAX_CHARACTERS = 1_000_000
_Words = tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]


def read_sentence_records(
    stream: SourceStream, source: Source, config: CorpusConfig
) -> Iterator[Sentence | Quarantined]:
    """Sentences of a JSONL file; blank lines are passed over. A record is read by :func:`record_sentence`."""
    for number, raw in stream.lines():
        if raw and not raw.isspace():
            record = parse_record(raw, source.name, number)
            yield record if isinstance(record, Quarantined) else record_sentence(record, source, config, number)


def record_sentence(record: dict[str, Any], source: Source, config: CorpusConfig, line: int) -> Sentence | Quarantined:
    """The sentence in a record.

    ``words`` (a list) are the words, located in the text field where there is one, else joined by one space; without
    ``words`` the text is split by rule. Word layers are the fields that `corpus.columns` names; where it names none,
    every list as long as ``words`` that is not in `corpus.label_fields`. Sentence labels are `corpus.label_fields`;
    where none are named, ``sense`` of a record with ``target``, else every other field with a string, number, boolean
    or list of strings (several values). With ``target`` (index of a word, from 0) the target also carries ``sense`` as
    a word layer. ``document`` names the document, else it is the file.
    """
    placed = _too_long(record, source.name, config, line) or _words(record, source.name, config, line)
    if isinstance(placed, Quarantined):
        return placed
    text, words, spans = placed
    fields = _layer_fields(record, words, config)
    labels = pick_labels(record, _label_fields(record, config, fields), source.name, line)
    if isinstance(labels, Quarantined):
        return labels
    layers = _layers(record, fields, len(words), source.name, line)
    if isinstance(layers, Quarantined):
        return layers
    if "target" in record:
        target, sense = record["target"], label_value(record.get("sense"))
        if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < len(words):
            rule = f"`target` must be the index of a word, from 0 to {len(words) - 1}"
            return quarantine(source.name, line, rule, repr(target), SKIP)
        if sense is not None:
            layers["sense"] = tuple(sense if index == target else None for index in range(len(words)))
    return Sentence(
        document=record_name(record, "document") or source.relative,
        sentence=record_name(record, config.id_field) or str(line),
        text=text,
        words=words,
        spans=spans,
        layers=layers,
        labels=labels,
        split=source.split,
        source=source.name,
        line=line,
    )


def word_values(value: object, n_words: int) -> tuple[str | None, ...] | None:
    """A list field as a word layer: one string, whole number, boolean or null per word; ``None`` for anything else."""
    if not isinstance(value, list) or len(value) != n_words:
        return None
    if any(item is not None and (isinstance(item, float) or label_value(item) is None) for item in value):
        return None
    return tuple(map(label_value, value))


def _layer_fields(record: dict[str, Any], words: tuple[str, ...], config: CorpusConfig) -> dict[str, str]:
    """Fields that are word layers, and their layers' names."""
    names = {name: layer_name(name) for name in record if name not in _taken(config)}
    if config.columns:
        return {name: layer for name, layer in names.items() if layer in config.columns}
    return {
        name: layer
        for name, layer in names.items()
        if record.get("words") and name not in config.label_fields and word_values(record[name], len(words))
    }


def _layers(
    record: dict[str, Any], fields: dict[str, str], n_words: int, source: str, line: int
) -> dict[str, tuple[str | None, ...]] | Quarantined:
    layers = {}
    for name, layer in fields.items():
        if record[name] is not None:
            values = word_values(record[name], n_words)
            if values is None:
                rule = f"word layer {name!r} must be a list of strings or nulls, one for each of the {n_words} words"
                return quarantine(source, line, rule, repr(record[name]), SKIP)
            layers[layer] = values
    return layers


def _taken(config: CorpusConfig) -> set[str]:
    return {config.text_field, config.id_field, "words", "document"}


def _label_fields(record: dict[str, Any], config: CorpusConfig, layers: Collection[str]) -> tuple[str, ...]:
    if config.label_fields:
        return config.label_fields
    if "target" in record:
        return ("sense",)
    taken = {*_taken(config), *layers}
    return tuple(
        name
        for name, value in record.items()
        if name not in taken and (label_value(value) is not None or is_string_list(value))
    )


def _too_long(record: dict[str, Any], source: str, config: CorpusConfig, line: int) -> Quarantined | None:
    text, words = record.get(config.text_field), record.get("words")
    if isinstance(text, str) and len(text) > MAX_CHARACTERS:
        rule = f"a sentence may have {MAX_CHARACTERS:,} characters, and this one has {len(text):,}"
        return quarantine(source, line, rule, text, "divide it, or set corpus.format to `jsonl`, which cuts documents")
    if isinstance(words, list) and len(words) > MAX_BLOCK_LINES:
        rule = f"a sentence may have {MAX_BLOCK_LINES:,} words, and this one has {len(words):,}"
        return quarantine(source, line, rule, repr(words[:50]), SKIP)
    return None


def _words(record: dict[str, Any], source: str, config: CorpusConfig, line: int) -> _Words | Quarantined:
    text, words = record.get(config.text_field), record.get("words")
    if words is None and isinstance(text, str):
        found, spans = split_words(text)
        return (text, found, spans) if found else quarantine(source, line, "a sentence must have words", text, SKIP)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        rule = (
            f"a record must have its text in {config.text_field!r} (corpus.text_field) or a list of strings in 'words'"
        )
        return quarantine(source, line, rule, repr(record if words is None else words), SKIP)
    if not words or any(not word.strip() for word in words):
        return quarantine(source, line, "a sentence must have words, and none of them empty", repr(words), SKIP)
    try:
        text, spans = (text, locate_words(text, words)) if isinstance(text, str) else join_words(words)
    except CorpusError as error:
        return quarantine(source, line, f"the words must be in the text: {error}", str(text), SKIP)
    return text, tuple(words), spans
