"""Reader of paired files: one sentence of words a line, and a label file per layer with as many labels on that line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest

from pipeline.corpus.sentence import Quarantined, Sentence, join_words, quarantine
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import Digest, SourceStream, decode, open_source

_FIX = "correct the line in one of them, or use --on-error skip"


def read_paired(stream: SourceStream, source: Source, digests: dict[str, Digest]) -> Iterator[Sentence | Quarantined]:
    """Sentences of a word file and its label files, divided at runs of ASCII spaces and tabs.

    The file is one document. Files that end at different lines, lines with different numbers of words and labels, and
    lines without words are quarantined. ``digests`` receives the label files' digests by name.
    """
    with ExitStack() as stack:
        streams = [
            (name, file, stack.enter_context(open_source(file.name, file.url))) for name, file in source.label_files
        ]
        for records in zip_longest(stream.lines(), *(opened.lines() for _, _, opened in streams)):
            yield _sentence(records, source)
            if None in records:
                break
        digests.update((file.name, opened.digest()) for _, file, opened in streams)


def _sentence(records: tuple[tuple[int, bytes] | None, ...], source: Source) -> Sentence | Quarantined:
    files = [source.name, *(file.name for _, file in source.label_files)]
    line = next(record[0] for record in records if record is not None)
    fields: list[tuple[str, ...]] = []
    for file, record in zip(files, records, strict=True):
        if record is None:
            other = files[next(i for i, r in enumerate(records) if r is not None)]
            return quarantine(
                file, line, f"paired files must have equally many lines, and {other} goes on", "end of file", _FIX
            )
        text = decode(record[1], file, line)
        if isinstance(text, Quarantined):
            return text
        fields.append(tuple(field for field in text.replace("\t", " ").split(" ") if field))
    words, *labels = fields
    for file, values in zip(files[1:], labels, strict=True):
        if len(values) != len(words):
            counts = f"{len(values)} labels for {len(words)} words of {files[0]}"
            rule = f"a line must have as many labels as words, and there are {counts}"
            return quarantine(file, line, rule, " ".join(values), _FIX)
    if not words:
        return quarantine(
            source.name,
            line,
            "a sentence must have words",
            "",
            "remove the line from all files, or use --on-error skip",
        )
    text, spans = join_words(words)
    layers: dict[str, tuple[str | None, ...]] = {
        name: values for (name, _), values in zip(source.label_files, labels, strict=True)
    }
    return Sentence(source.relative, str(line), text, words, spans, layers, {}, {}, source.split, source.name, line)
