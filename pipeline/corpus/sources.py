"""From the paths of a config to the files of a corpus, in a deterministic order."""

from __future__ import annotations

import glob
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

from pipeline.corpus.streams import Digest, compression_of, is_file, open_source
from pipeline.corpus.urls import split_chain
from schemas.config import CorpusConfig, SourceConfig
from schemas.errors import ConfigError, CorpusError
from schemas.locations import PREFIX, resolve_location


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    ``name`` is what the config calls it (relative where the config is), ``url`` where it is opened, ``relative`` its
    path inside the folder or glob it was found by (the file's name for a plain file): documents without a name of
    their own are called by it, so that moving a corpus changes nothing. ``label_files`` are the label files of a
    `paired` corpus: layer, source.
    """

    name: str
    url: str
    relative: str
    split: str | None = None
    label_files: tuple[tuple[str, Source], ...] = ()


def expand(config: CorpusConfig) -> list[Source]:
    """All files of a corpus: sources in the config's order, folders and globs recursively in name order.

    Hidden files are left out of folders. Raises :class:`CorpusError` for a path that is not there, a folder or glob
    with no file, a file listed twice, and a `paired` file without its label files.
    """
    sources: list[Source] = []
    seen: dict[str, str] = {}
    for configured in config.sources:
        files = _files(configured)
        if config.format == "paired":
            files = _pair(files, config.columns)
        for source in files:
            place = source.url if "://" in source.url else str(Path(source.url).resolve())
            if place in seen:
                raise CorpusError(
                    f"{source.name}: each file may be in the corpus once, and corpus.sources lists it by "
                    f"{seen[place]!r} and by {configured.path!r}; drop one of them"
                )
            seen[place] = configured.path
            sources.append(source)
    return sources


def digest(source: Source) -> Digest:
    """Size and SHA-256 of a file, read once from front to back."""
    with open_source(source.name, source.url) as stream:
        return stream.digest()


def _files(configured: SourceConfig) -> list[Source]:
    path, split = configured.path, configured.split
    if path.startswith(PREFIX):
        try:
            root, found = _local(resolve_location(path))
        except ConfigError as error:
            raise CorpusError(f"{path}: {error}") from error
    else:
        root, found = _remote(path) if "://" in path else _local(path)
    if not found:
        raise CorpusError(f"{path}: corpus.sources must name at least one file, and this matches none; check the path")
    base = _base(root, is_file=found == [root])
    before, _, after = split_chain(path) if "://" in path else ("", path, "")
    sources = []
    for place in found:
        url = f"{before}{place}{after}"
        name = path.rstrip("/") + place.removeprefix(root) if path.startswith(PREFIX) else url
        sources.append(Source(name, url, place.removeprefix(base), split))
    return sources


def _base(root: str, *, is_file: bool) -> str:
    """What the files of a path have in common: the folder (of a file, or itself), or what stands before a pattern."""
    if root.endswith("://"):
        return root
    if is_file:
        return root[: root.rfind("/") + 1]
    if glob.has_magic(root):
        start = min(i for i, character in enumerate(root) if character in "*?[")
        return root[: root.rfind("/", 0, start) + 1]
    return root.rstrip("/") + "/"


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(relative).parts)


def _local(path: str) -> tuple[str, list[str]]:
    """The path in normal form, and the files it stands for."""
    root = Path(path).expanduser()
    if root.is_file():
        return str(root), [str(root)]
    if root.is_dir():
        files = (p for p in root.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(root).as_posix()))
        return str(root), [str(p) for p in sorted(files, key=lambda p: p.relative_to(root).as_posix())]
    if not glob.has_magic(path):
        raise CorpusError(
            f"{path}: corpus.sources names a path that does not exist; check it (relative paths start at {Path.cwd()})"
        )
    return str(root), sorted(p for p in glob.glob(str(root), recursive=True) if Path(p).is_file())  # noqa: PTH207  (Path.glob takes no absolute pattern)


def _remote(url: str) -> tuple[str, list[str]]:
    """The place in the URL in normal form, and the places of the files it stands for; both without the chain."""
    _, place, outer = split_chain(url)
    try:
        fs, path = url_to_fs(place + outer)
        if glob.has_magic(place):
            found = [p for p in fs.glob(path) if fs.isfile(p)]
        elif fs.isdir(path):
            found = [p for p in fs.find(path) if not _is_hidden(p.removeprefix(path))]
        else:
            found = [path] if fs.exists(path) else []
    except (OSError, ValueError, ImportError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise CorpusError(
            f"{url}: the file system cannot be read ({error}); check the URL and its credentials"
        ) from error
    return _with_protocol(fs, path), sorted(_with_protocol(fs, p) for p in found)


def _with_protocol(fs: fsspec.AbstractFileSystem, path: str) -> str:
    return str(fs.unstrip_protocol(path))


def _pair(files: list[Source], columns: tuple[str, ...]) -> list[Source]:
    """Word files with their label files; label files that a folder or glob took in are not word files."""
    if not columns:
        raise CorpusError(
            "corpus.columns: a `paired` corpus needs the names of its label files FILE.NAME (or STEM.NAME: train.word "
            "and train.label); e.g. columns: [pos]"
        )
    names = {source.url for source in files}
    label_urls = {url for source in files for name in columns for url in label_places(source.url, name) if url in names}
    paired = []
    word_files: dict[str, str] = {}
    for source in files:
        if source.url in label_urls:
            continue
        labels = tuple((name, _label_source(source, name)) for name in columns)
        for _, file in labels:
            other = word_files.setdefault(file.url, source.name)
            if other != source.name:
                raise CorpusError(
                    f"{file.name}: a label file belongs to one word file, and both {other} and {source.name} could be "
                    "it; name the word files in corpus.sources"
                )
        paired.append(replace(source, label_files=labels))
    return paired


def label_places(url: str, name: str) -> list[str]:
    """Where the label file ``name`` of a word file may be: `FILE.NAME`, else `STEM.NAME` (train.word, train.label).

    With the compression at the end or without: `words.txt.gz` has `words.txt.gz.pos`, `words.txt.pos.gz`,
    `words.pos.gz` or `words.pos`.
    """
    before, place, after = split_chain(url)
    suffix = compression_of(place) or ""
    packed = place[len(place) - len(suffix) :]
    plain = place.removesuffix(packed) if suffix else place
    candidates = [f"{place}.{name}", f"{plain}.{name}{packed}"]
    folder, slash, file = plain.rpartition("/")
    stem, dot, _ = file.rpartition(".")
    if dot and stem:
        candidates += [f"{folder}{slash}{stem}.{name}{packed}", f"{folder}{slash}{stem}.{name}"]
    return [f"{before}{candidate}{after}" for candidate in dict.fromkeys(candidates) if candidate != place]


def _label_source(source: Source, name: str) -> Source:
    candidates = (label_places(text, name) for text in (source.name, source.url, source.relative))
    for file_name, url, relative in zip(*candidates, strict=True):
        if is_file(url):
            return Source(file_name, url, relative, source.split)
    places = " or ".join(dict.fromkeys(label_places(source.name, name)))
    raise CorpusError(
        f"{source.name}: corpus.columns names the label layer {name!r}, and there is no file {places}; "
        "add it or drop the name"
    )
