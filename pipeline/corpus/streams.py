"""Reading one file of a corpus: decompressed, in bounded memory, with the checksum of its raw bytes on the way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import zstandard
from fsspec.core import url_to_fs

from pipeline.corpus.sentence import Quarantined, quarantine
from pipeline.corpus.urls import split_chain
from schemas.errors import CorpusError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
#: Longest line that is read, and the most bytes and lines of a block (a sentence of CoNLL files): above any document,
#: below what a compressed file of a few kB could otherwise fill a memory with.
MAX_LINE_BYTES = 128 << 20
MAX_BLOCK_LINES = 1_000_000
_CHUNK = 1 << 20
#: Compressed bytes unpacked at once: four can be 128 kB of one character, and all they give is in memory.
_ZSTD_BYTES = 1 << 10
#: Memory that an xz stream may ask for: `xz -9` takes 65 MB, and a file of a few bytes could take 4 GB.
_XZ_MEMORY = 128 << 20
_BOM = b"\xef\xbb\xbf"
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)


@dataclass(frozen=True)
class Digest:
    """Size and SHA-256 of a file's raw (still compressed) bytes."""

    n_bytes: int
    sha256: str


class _HashingFile(io.RawIOBase):
    """A raw file that hashes what is read from it, front to back."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._raw.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._sha256.update(chunk)
        self._n_bytes += len(chunk)
        return len(chunk)

    def drain(self) -> Digest:
        """Read what is left, and return the digest of the whole file."""
        while chunk := self._raw.read(_CHUNK):
            self._sha256.update(chunk)
            self._n_bytes += len(chunk)
        return Digest(self._n_bytes, self._sha256.hexdigest())


class _ZstdFile(io.RawIOBase):
    """Frames of Zstandard one after the other; unlike the library's own reader, a cut-off frame is an error."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._is_inside = False
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def _next_chunk(self) -> bool:
        compressed = b""
        if self._frame.eof:
            compressed = self._frame.unused_data
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._is_inside = False
        compressed = compressed or self._raw.read(_ZSTD_BYTES)
        if not compressed:
            if self._is_inside:
                raise EOFError("the last frame is cut off")
            return False
        self._is_inside = True
        self._pending = memoryview(self._frame.decompress(compressed))
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            if not self._next_chunk():
                return 0
        n = min(len(buffer), len(self._pending))
        buffer[:n] = self._pending[:n]
        self._pending = self._pending[n:]
        return n


class _XzFile(io.RawIOBase):
    """Streams of xz one after the other; unlike the library's own reader, with a limit to the memory they take."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        self._compressed = b""
        self._is_inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._stream.eof:
                self._compressed = self._stream.unused_data
                self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
                self._is_inside = False
            if not self._compressed and self._stream.needs_input:
                self._compressed = self._raw.read(_CHUNK)
                if not self._compressed and self._is_inside:
                    raise EOFError("the last stream is cut off")
                if not self._compressed:
                    return 0
            if not self._is_inside:
                self._compressed = self._compressed.lstrip(b"\0")  # padding between streams
                self._is_inside = bool(self._compressed)
            if self._is_inside:
                content = self._stream.decompress(self._compressed, len(buffer))
                self._compressed = b""
                if content:
                    buffer[: len(content)] = content
                    return len(content)


def compression_of(name: str) -> str | None:
    """``.gz``, ``.bz2``, ``.xz`` or ``.zst`` where the name ends in it (in any case), else ``None``."""
    place = split_chain(name)[1].lower()
    return next((suffix for suffix in COMPRESSIONS if place.endswith(suffix)), None)


def _decompressed(raw: IO[bytes], suffix: str | None) -> IO[bytes]:
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    if suffix == ".bz2":
        return bz2.BZ2File(raw, "rb")
    if suffix == ".xz":
        return io.BufferedReader(_XzFile(raw), _CHUNK)
    if suffix == ".zst":
        return io.BufferedReader(_ZstdFile(raw), _CHUNK)
    return raw


class SourceStream:
    """One open file: its lines or blank-line-separated blocks as bytes, then its digest."""

    def __init__(self, name: str, raw: IO[bytes]) -> None:
        self.name = name
        self._hashing = _HashingFile(raw)
        self._raw = io.BufferedReader(self._hashing, _CHUNK)
        self._content = _decompressed(cast("IO[bytes]", self._raw), compression_of(name))

    def starts_with(self, magic: bytes) -> bool:
        """The raw file begins with ``magic``; to be asked before anything is read."""
        try:
            return self._raw.peek(len(magic)).startswith(magic)
        except OSError as error:
            raise CorpusError(f"{self.name}:1: the file cannot be read ({error}); restore it") from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Number (from 1) and bytes of every line, without line end (LF or CR LF) and without a BOM.

        Raises :class:`CorpusError` when the file cannot be decompressed to its end, and for a line of more than
        :data:`MAX_LINE_BYTES`, of which no more than that is read.
        """
        number = 0
        try:
            while raw := self._content.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise self._too_long(number, f"a line may have {MAX_LINE_BYTES >> 20} MB")
                line = raw.rstrip(b"\r\n")
                yield number, line.removeprefix(_BOM) if number == 1 else line
        except _BROKEN as error:
            raise CorpusError(
                f"{self.name}:{number + 1}: the file cannot be read to its end ({error}); restore it or fix its suffix"
            ) from error

    def blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Runs of lines between blank ones (nothing or ASCII white space): number of the first line, the lines.

        Raises :class:`CorpusError` for a run of more than :data:`MAX_LINE_BYTES` or :data:`MAX_BLOCK_LINES`.
        """
        block: list[bytes] = []
        number = n_bytes = 0
        for number, line in self.lines():
            if line and not line.isspace():
                block.append(line)
                n_bytes += len(line)
                if n_bytes > MAX_LINE_BYTES or len(block) > MAX_BLOCK_LINES:
                    most = f"{MAX_BLOCK_LINES:,} lines and {MAX_LINE_BYTES >> 20} MB"
                    raise self._too_long(number + 1 - len(block), f"the lines up to the next blank one may be {most}")
            elif block:
                yield number - len(block), block
                block, n_bytes = [], 0
        if block:
            yield number + 1 - len(block), block

    def _too_long(self, number: int, rule: str) -> CorpusError:
        return CorpusError(
            f"{self.name}:{number}: {rule}, and there are more; break up the text, or set corpus.format to what the "
            "file is"
        )

    def digest(self) -> Digest:
        """Size and SHA-256 of the raw bytes, reading the rest of the file where a reader stopped early."""
        return self._hashing.drain()


def open_raw(url: str) -> IO[bytes]:
    """The file at a local path or fsspec URL, open for reading as it is."""
    if "://" not in url:
        return Path(url).open("rb")
    fs, path = url_to_fs(url)
    file = fs.open(path, "rb")
    # a file system of an archive closes the archive when it is collected: it has to live as long as the file
    weakref.finalize(file, _let_go, fs)
    return cast("IO[bytes]", file)


def _let_go(_: fsspec.AbstractFileSystem) -> None:
    """Called when a file is collected, after which nothing holds its file system."""


def is_file(url: str) -> bool:
    """There is a file at the local path or fsspec URL."""
    if "://" not in url:
        return Path(url).is_file()
    fs, path = url_to_fs(url)
    return bool(fs.isfile(path))


@contextmanager
def open_source(name: str, url: str) -> Iterator[SourceStream]:
    """Open the file at ``url`` (local path or fsspec URL) for reading; ``name`` is what errors call it."""
    try:
        raw = open_raw(url)
    except (OSError, ValueError, ImportError) as error:
        raise CorpusError(f"{name}: the file cannot be opened ({error}); check the path and its permissions") from error
    try:
        yield SourceStream(name, raw)
    finally:
        raw.close()


def decode(raw: bytes, source: str, line: int) -> str | Quarantined:
    """``raw`` as UTF-8, or what is wrong with it: the line (``raw`` may hold several) and the bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        found = raw[start : start + 200].split(b"\n", 1)[0].decode("utf-8", "backslashreplace")
        byte = f"byte 0x{raw[error.start]:02x} at byte {error.start - start + 1} of the line"
        return quarantine(
            source,
            line + before.count(b"\n"),
            f"text must be UTF-8, and {byte} is not",
            found,
            "convert the file to UTF-8 (`iconv -f FROM -t UTF-8`), or skip such sentences with --on-error skip",
        )
