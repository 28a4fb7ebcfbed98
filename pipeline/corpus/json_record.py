"""One line of a JSONL file: parsed, and its fields checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.corpus.label_values import join_values
from pipeline.corpus.sentence import Quarantined, quarantine
from pipeline.corpus.streams import decode

SKIP = "correct the record, or use --on-error skip"


def parse_record(raw: bytes, source: str, line: int) -> dict[str, Any] | Quarantined:
    """The JSON object on a line, or what is wrong with it (encoding, syntax, not an object, half a surrogate pair)."""
    text = decode(raw, source, line)
    if isinstance(text, Quarantined):
        return text
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return quarantine(source, line, f"each line must be one JSON object ({error})", text, SKIP)
    if not isinstance(record, dict):
        return quarantine(source, line, f"each line must be one JSON object, not a {type(record).__name__}", text, SKIP)
    if "\\ud" in text.lower():
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return quarantine(
                source, line, "text must be Unicode, and half a surrogate pair (\\ud800 … \\udfff) is not", text, SKIP
            )
    return record


def label_value(value: object) -> str | None:
    """A label as text: strings as they are, numbers and booleans as JSON writes them; ``None`` for anything else."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def is_string_list(value: object) -> bool:
    """The value is a list of strings, at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def pick_labels(
    record: Mapping[str, object], fields: Sequence[str], source: str, line: int
) -> dict[str, str] | Quarantined:
    """Labels of the named fields; a missing or null field and an empty list are no label.

    A list of strings is several values of the label (:func:`pipeline.corpus.label_values.join_values`); any other list,
    and an object, is quarantined.
    """
    labels = {}
    for name in fields:
        value = record.get(name)
        if value is None or value == []:
            continue
        text = join_values(value) if isinstance(value, list) and is_string_list(value) else label_value(value)
        if text is None:
            return quarantine(
                source,
                line,
                f"label field {name!r} must hold a string, number, boolean or list of strings",
                repr(value),
                SKIP,
            )
        labels[name] = text
    return labels


def record_name(record: Mapping[str, object], id_field: str) -> str | None:
    """Name that the record gives in ``id_field``, with white space normalised; ``None`` where it gives none."""
    value = label_value(record.get(id_field))
    return (" ".join(value.split()) or None) if value is not None else None
