"""From the config's sources of concepts to the list of concepts of a corpus."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.corpus.label_values import merged_values
from pipeline.corpus.summary import MAX_VALUES, CorpusSummary
from schemas.config import ConceptConfig, ConceptsConfig
from schemas.errors import ConceptError

Kind = Literal["layer", "regex", "words", "sql", "sentence", "document"]
LabelOn = Literal["all", "first", "last"]


@dataclass(frozen=True)
class Concept:
    """A named boolean property of words (kinds ``layer regex words sql``), sentences or documents.

    ``layer`` and ``value`` are set where it is a value of a label layer or label; ``values`` are then the raw values
    that stand for it (``B-PER`` and ``I-PER`` for ``PER``, and every list that holds it). ``definition`` says what was
    compiled. ``label_on`` says which tokens of a word carry it.
    """

    name: str
    kind: Kind
    layer: str | None
    value: str | None
    definition: str
    label_on: LabelOn = "all"
    values: frozenset[str] = frozenset()
    pattern: str | None = None
    words: tuple[str, ...] = ()
    sql: str | None = None
    ignore_case: bool = False


def resolve_concepts(config: ConceptsConfig, summary: CorpusSummary) -> list[Concept]:
    """All concepts of a config over a corpus, in the config's order, values of a layer by frequency.

    Values of a word layer become ``layer=value``, of a sentence label ``sentence:label=value``, of a document label
    ``document:label=value``; `name` replaces what stands before ``=``, and is the whole name of a single `value`.
    Raises :class:`ConceptError` for an unknown layer, an open-ended one, a source that leaves no value, an invalid
    pattern, and a name given twice.
    """
    concepts: list[Concept] = []
    for index, item in enumerate(config.include):
        key = f"concepts.include[{index}]"
        if item.layer is not None:
            concepts += _values(item, config, key, kind="layer", layer=item.layer, summary=summary)
        elif item.sentence_label is not None:
            concepts += _values(item, config, key, kind="sentence", layer=item.sentence_label, summary=summary)
        elif item.document_label is not None:
            concepts += _values(item, config, key, kind="document", layer=item.document_label, summary=summary)
        else:
            concepts.append(_predicate(item, config.label_on, key))
    seen: set[str] = set()
    for concept in concepts:
        if concept.name in seen:
            raise ConceptError(
                f"concepts.include: each concept needs a name of its own, and {concept.name!r} comes twice; "
                "give one a `name`"
            )
        seen.add(concept.name)
    return concepts


def require_positives(concepts: Sequence[Concept], counts: Sequence[int]) -> None:
    """Refuse concepts that hold for no counted row (``counts`` as ``concepts``): there is nothing to search for."""
    empty = [concept for concept, n in zip(concepts, counts, strict=True) if n == 0]
    if empty:
        listed = "; ".join(f"{c.name!r} ({c.kind}: {c.definition})" for c in empty[:5])
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise ConceptError(
            f"concepts.include: a concept must hold somewhere in the corpus, and these never do: {listed}{more}; "
            "correct or drop them"
        )


def _values(
    item: ConceptConfig,
    config: ConceptsConfig,
    key: str,
    *,
    kind: Literal["layer", "sentence", "document"],
    layer: str,
    summary: CorpusSummary,
) -> list[Concept]:
    available = {"layer": summary.layers, "sentence": summary.sentence_labels, "document": summary.document_labels}[
        kind
    ]
    option = "layer" if kind == "layer" else f"{kind}_label"
    if layer not in available:
        raise ConceptError(
            f"{key}.{option}: the corpus has no {option.replace('_', ' ')} {layer!r}; {_suggestion(layer, available)}"
        )
    if layer in summary.open_layers:
        raise ConceptError(
            f"{key}.{option}: {layer!r} has more than {MAX_VALUES} values, too many for a concept each; "
            "use `sql`, `regex` or `words`"
        )
    merged = merged_values(available[layer], config.exclude_values, iob=config.iob and kind == "layer")
    low, high = item.min_count, item.max_count
    kept = {
        v: (raw, n)
        for v, (raw, n) in merged.items()
        if n >= low and (high is None or n <= high) and item.value in (None, v)
    }
    if not kept:
        limits = f"min_count {low}" + (f", max_count {high}" if high is not None else "")
        limits += f", value {item.value!r}" if item.value is not None else ""
        top = ", ".join(f"{v!r} {n}×" for v, (_, n) in list(merged.items())[:5]) or "none but excluded ones"
        raise ConceptError(
            f"{key}.{option}: no value of {layer!r} is left as a concept under {limits}; it has {top}; relax them"
        )
    prefix = item.name or (layer if kind == "layer" else f"{kind}:{layer}")
    ordered = sorted(kept.items(), key=lambda entry: (-entry[1][1], entry[0]))
    return [
        Concept(
            name=item.name if item.name and item.value is not None else f"{prefix}={value}",
            kind=kind,
            layer=layer,
            value=value,
            definition=f"{layer}={value}",
            label_on=config.label_on,
            values=frozenset(raw),
        )
        for value, (raw, _) in ordered
    ]


def _suggestion(name: str, available: Mapping[str, object]) -> str:
    if not available:
        return "it has none"
    names = list(available)
    by_lower = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.4)
    meant = f"did you mean {by_lower[nearest[0]]!r}? " if nearest else ""
    return f"{meant}It has {', '.join(sorted(names))}"


def _predicate(item: ConceptConfig, label_on: LabelOn, key: str) -> Concept:
    name = item.name or ""
    flags = " (ignoring case)" if item.ignore_case else ""
    if item.regex is not None:
        try:
            re.compile(item.regex)
        except re.error as error:
            raise ConceptError(
                f"{key}.regex: must be a Python regular expression ({error}), got {item.regex!r}; correct it"
            ) from error
        return Concept(
            name, "regex", None, None, item.regex + flags, label_on, pattern=item.regex, ignore_case=item.ignore_case
        )
    if item.words is not None:
        if not item.words:
            raise ConceptError(f"{key}.words: a word list must have a word; add words or drop the concept {name!r}")
        definition = " ".join(item.words) + flags
        return Concept(name, "words", None, None, definition, label_on, words=item.words, ignore_case=item.ignore_case)
    sql = item.sql or ""
    return Concept(name, "sql", None, None, sql, label_on, sql=sql)
