"""Label plain text with spaCy, as an ordinary CoNLL-U corpus of many parts.

A part is a fixed number of documents. Each is tagged by one worker, written under a hidden name, renamed, and then
recorded by a receipt, so that a killed run goes on with the parts that are missing and gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.corpus.conllu_writer import Token, document_comments, sentence_lines
from pipeline.corpus.passage import Passage
from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.reader import Handler, read_passages
from pipeline.corpus.sentence import Quarantined
from pipeline.corpus.sources import digest as file_digest
from pipeline.corpus.sources import expand
from schemas.config import AnnotateConfig, CorpusConfig, SourceConfig
from schemas.errors import ConfigError, CorpusError, IncompleteError

#: Part of the fingerprint; raised whenever the same text and tagger give other bytes.
ANNOTATE_VERSION = 1
#: Longer passages are tagged in pieces: the tagger's memory grows with the length of a text.
_MAX_CHARACTERS = 100_000
_COMPONENT_OF_LAYER = {"upos": "tagger", "xpos": "tagger", "feats": "tagger", "deprel": "parser", "entity": "ner"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PartReceipt:
    """One finished part; ``input`` is the SHA-256 of its text and everything else that decides its bytes."""

    file: str
    input: str
    n_documents: int
    n_sentences: int
    n_words: int
    n_bytes: int
    sha256: str


def annotate(
    config: CorpusConfig,
    annotate: AnnotateConfig,
    out_dir: Path | str,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    quarantine: Handler | None = None,
) -> CorpusConfig:
    """Tag every document of a plain-text corpus and return the config of the CoNLL-U corpus that comes of it.

    ``out_dir`` receives ``parts/part-00000.conllu.gz`` …, ``receipts/`` and, once all is done, ``parts.json``. Parts
    that an earlier call finished for the same text and settings are kept; ``progress`` is called with the documents and
    words done so far, theirs included. Bytes do not depend on ``workers``. Splits of sources are kept as comments, a
    hash split goes over to the new config.

    Raises :class:`ConfigError` where spaCy, the tagger or a component of it is missing, the corpus is no plain text,
    or ``out_dir`` cannot be written; :class:`CorpusError` for bad input; :class:`IncompleteError` when a worker died.
    """
    out = Path(out_dir)
    fingerprint = annotation_fingerprint(config, annotate)
    annotated = CorpusConfig(
        sources=(SourceConfig(path=str(out / "parts")),), format="conllu", split=config.split, on_error=config.on_error
    )
    handle = quarantine or (lambda _: None)
    if finished := _begin(out, fingerprint):
        for item in finished["quarantined"]:
            handle(Quarantined(**item))
        return annotated
    skipped = QuarantineList()
    counts = [0, 0]
    receipts: dict[int, PartReceipt] = {}
    for index, receipt in _tag_parts(config, annotate, out, workers, skipped.add):
        receipts[index] = receipt
        counts[0] += receipt.n_documents
        counts[1] += receipt.n_words
        if progress:
            progress(*counts)
    for item in skipped.items():
        handle(item)
    if not counts[1]:
        raise CorpusError(
            f"{config.sources[0].path}: a corpus must have a word to annotate, and it has none; check corpus.format"
        )
    kept = {receipt.file for receipt in receipts.values()}
    for stale in (path for path in (out / "parts").iterdir() if path.name not in kept):
        stale.unlink()
    skip = [asdict(item) for item in skipped.items()]
    parts = [asdict(receipts[index]) for index in sorted(receipts)]
    _write_json(out / "parts.json", {"fingerprint": fingerprint, "parts": parts, "quarantined": skip})
    return annotated


def annotation_fingerprint(config: CorpusConfig, annotate: AnnotateConfig) -> str:
    """SHA-256 (hex) of the input's bytes and names, the settings, and the versions of spaCy and the tagger."""
    files = [[source.name, source.split, file_digest(source).sha256] for source in expand(config)]
    settings = config.model_dump(mode="json", exclude={"sources", "split"})
    payload = [ANNOTATE_VERSION, files, settings, annotate.model_dump(mode="json"), _versions(annotate.tagger)]
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


@cache
def _versions(tagger: str) -> list[str]:
    if find_spec("spacy") is None:
        raise ConfigError("annotate: it needs spaCy, which is not installed; pip install 'neuronmill[annotate]'")
    try:
        return [version("spacy"), version(tagger)]
    except PackageNotFoundError as error:
        raise ConfigError(
            f"annotate.tagger: must be an installed spaCy pipeline, and {tagger!r} is not; "
            "pip install it, or take the one of `pip install 'neuronmill[annotate]'`"
        ) from error


def _begin(out: Path, fingerprint: str) -> dict[str, Any] | None:
    """Make the folders of ``out``; its ``parts.json`` where all of this annotation is already there."""
    record = out / "parts.json"
    try:
        (out / "parts").mkdir(parents=True, exist_ok=True)
        (out / "receipts").mkdir(exist_ok=True)
        found = json.loads(record.read_text()) if record.exists() else None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"annotate: its output folder {out} cannot be used ({error}); give a writable folder"
        ) from error
    if found is None or found["fingerprint"] != fingerprint:
        record.unlink(missing_ok=True)  # what is there belongs to other text or settings, at least in part
        return None
    is_whole = all(_is_intact(out, PartReceipt(**part)) for part in found["parts"])
    return dict(found) if is_whole else None


def _is_intact(out: Path, receipt: PartReceipt) -> bool:
    path = out / "parts" / receipt.file
    return path.is_file() and path.stat().st_size == receipt.n_bytes


def _documents_of_parts(passages: Iterator[Passage], size: int) -> Iterator[list[Passage]]:
    part: list[Passage] = []
    n_documents = 0
    for passage in passages:
        if passage.is_first:
            if n_documents == size:
                yield part
                part, n_documents = [], 0
            n_documents += 1
        part.append(passage)
    if part:
        yield part


def _tag_parts(
    config: CorpusConfig, annotate: AnnotateConfig, out: Path, workers: int, quarantine: Handler
) -> Iterator[tuple[int, PartReceipt]]:
    """Index and receipt of every part as it is done: found on disk, tagged here (one worker), or in processes."""
    parts = enumerate(_documents_of_parts(read_passages(config, quarantine), annotate.documents_per_part))
    if workers == 1:
        for index, part in parts:
            key = _part_key(part, annotate)
            yield index, _finished(out, index, key) or _tag_part(part, annotate, str(out), index, key)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_interrupt) as pool:
        running: dict[Future[PartReceipt], int] = {}
        try:
            for index, part in parts:
                key = _part_key(part, annotate)
                if receipt := _finished(out, index, key):
                    yield index, receipt
                    continue
                if len(running) >= 2 * workers:
                    yield from _drain(running)
                running[pool.submit(_tag_part, part, annotate, str(out), index, key)] = index
            while running:
                yield from _drain(running)
        except BrokenProcessPool as error:
            raise IncompleteError(
                "annotate: a worker died (often for want of memory: lower workers or annotate.documents_per_part); "
                "finished parts are kept, start it again to resume"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group: workers finish their part, and the parent stops the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _part_key(part: Sequence[Passage], annotate: AnnotateConfig) -> str:
    settings = [ANNOTATE_VERSION, annotate.tagger, annotate.layers, _versions(annotate.tagger)]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for p in part:
        fields = [p.document, p.text, p.is_first, p.split, p.source, p.document_labels]
        digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.hexdigest()


def _drain(running: dict[Future[PartReceipt], int]) -> Iterator[tuple[int, PartReceipt]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


def _finished(out: Path, index: int, key: str) -> PartReceipt | None:
    path = out / "receipts" / f"part-{index:05d}.json"
    if not path.is_file():
        return None
    receipt = PartReceipt(**json.loads(path.read_text()))
    return receipt if receipt.input == key and _is_intact(out, receipt) else None


def _tag_part(passages: Sequence[Passage], annotate: AnnotateConfig, out_dir: str, index: int, key: str) -> PartReceipt:
    """Tag the documents of one part and write it; runs in a worker. The receipt is the last thing written."""
    out = Path(out_dir)
    blocks, n_words = _conllu_blocks(passages, annotate)
    text = "".join(block + "\n\n" for block in blocks)
    content = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    name = f"part-{index:05d}.conllu.gz"
    _replace(out / "parts" / name, content)
    receipt = PartReceipt(
        file=name,
        input=key,
        n_documents=sum(passage.is_first for passage in passages),
        n_sentences=len(blocks),
        n_words=n_words,
        n_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    _write_json(out / "receipts" / f"part-{index:05d}.json", asdict(receipt))
    return receipt


def _conllu_blocks(passages: Sequence[Passage], annotate: AnnotateConfig) -> tuple[list[str], int]:
    """CoNLL-U sentences of all passages, without blank lines, and the number of words in them."""
    pieces = [piece for passage in passages for piece in _cut(passage)]
    tagged = _tagger(annotate.tagger, annotate.layers).pipe([piece.text for piece in pieces], batch_size=64)
    layers = frozenset(annotate.layers)
    blocks: list[str] = []
    header: list[str] = []
    n_words = n_sentences = 0
    for piece, doc in zip(pieces, tagged, strict=True):
        if piece.is_first:
            header = document_comments(piece.document, piece.document_labels, piece.split, piece.source)
            n_sentences = 0
        for span in doc.sents:
            words = [token for token in span if not token.is_space]
            if not words:
                continue
            n_sentences += 1
            n_words += len(words)
            text = piece.text[words[0].idx : words[-1].idx + len(words[-1])]
            blocks.append("\n".join([*header, *sentence_lines(str(n_sentences), text, _tokens(words, layers))]))
            header = []
    return blocks, n_words


def _cut(passage: Passage) -> Iterator[Passage]:
    """The passage, in pieces that end at white space where it is very long."""
    text, is_first = passage.text, passage.is_first
    while len(text) > _MAX_CHARACTERS:
        space = text.rfind(" ", 1, _MAX_CHARACTERS)
        end = space if space > 0 else _MAX_CHARACTERS
        yield replace(passage, text=text[:end], is_first=is_first)
        text, is_first = text[end:].lstrip(), False
    if text or is_first:
        yield replace(passage, text=text, is_first=is_first)


def _tokens(words: Sequence[Any], layers: frozenset[str]) -> list[Token]:
    """Tokens of spaCy, one sentence (no white space among them) as CoNLL-U tokens with the layers asked for."""
    positions = {word.i: position for position, word in enumerate(words, start=1)}
    tokens = []
    for word, following in zip(words, [*words[1:], None], strict=True):
        head = word.head
        while head.is_space and head.head.i != head.i:
            head = head.head
        is_root = head.i == word.i or head.i not in positions
        has_relation = "deprel" in layers
        tokens.append(
            Token(
                form=word.text,
                upos=word.pos_ if "upos" in layers else "",
                xpos=word.tag_ if "xpos" in layers else "",
                feats=str(word.morph) if "feats" in layers else "",
                head=(0 if is_root else positions[head.i]) if has_relation else None,
                deprel=("root" if is_root else word.dep_) if has_relation else "",
                entity=f"{word.ent_iob_}-{word.ent_type_}" if "entity" in layers and word.ent_type_ else "",
                is_space_after=following is None or word.idx + len(word) < following.idx,
            )
        )
    return tokens


@cache
def _tagger(name: str, layers: tuple[str, ...]) -> Any:
    """The spaCy pipeline with what the layers need; sentences always come from its parser (or `senter`)."""
    import spacy  # noqa: PLC0415  (an optional extra, and slow to import)

    needed = {_COMPONENT_OF_LAYER[layer] for layer in layers}
    try:
        nlp = spacy.load(name, exclude=["lemmatizer"] if "ner" in needed else ["lemmatizer", "ner"])
    except OSError as error:
        raise ConfigError(
            f"annotate.tagger: {name!r} cannot be loaded as a spaCy pipeline ({error}); reinstall it"
        ) from error
    if missing := sorted(needed - set(nlp.pipe_names)):
        raise ConfigError(
            f"annotate.tagger: {name!r} has no {', '.join(missing)} for the layers {', '.join(layers)}; "
            "drop layers or take another"
        )
    if not {"parser", "senter", "sentencizer"} & set(nlp.pipe_names):
        raise ConfigError(
            f"annotate.tagger: {name!r} finds no sentences (it has {nlp.pipe_names}); take one with a parser"
        )
    return nlp


def _write_json(path: Path, value: object) -> None:
    _replace(path, json.dumps(value, sort_keys=True, indent=1).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a crash."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with staged.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
