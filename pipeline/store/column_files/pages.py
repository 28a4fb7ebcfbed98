"""Data pages of Parquet: their headers, and columns compressed as they are, one page a column.

A page header tells the compressed size in its middle, so what is around it is the same for all pages of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import zstandard

from pipeline.store.column_files.thrift_compact import i32, structure, zigzag

Bytes = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.int64]

_RLE = 3
#: Pages whose headers are kept: of the row ids and the neurons of a few shards.
_KNOWN = 16


class PageHeader(NamedTuple):
    """A page header before and after the compressed size."""

    before: bytes
    after: bytes

    def of(self, n_bytes: int) -> bytes:
        """The whole header of a page of ``n_bytes``, compressed."""
        return self.before + zigzag(n_bytes) + self.after


@lru_cache(_KNOWN)
def page_header(n_bytes: int, n_rows: int, encoding: int) -> PageHeader:
    """Headers of pages of ``n_bytes``, uncompressed, with ``n_rows`` values."""
    # PageHeader: type (field 1: data), sizes (2, 3), its kind (5)
    data_page = structure({1: i32(n_rows), 2: i32(encoding), 3: i32(_RLE), 4: i32(_RLE)})
    return PageHeader(b"\x15\x00\x15" + zigzag(n_bytes) + b"\x15", b"\x2c" + data_page.content + b"\x00")


class PageWriter(Protocol):
    """A way to make pages of columns."""

    def write(self, columns: npt.NDArray[Any], header: PageHeader, out: Bytes, at: int, sizes: Sizes) -> int:
        """Write a page for each row of C-contiguous ``columns`` (C, T) into ``out`` from ``at`` on; returns its end.

        ``sizes`` (C, 2) takes the bytes of each page, header included, and of its header.
        """


class WholePages:
    """Pages of columns as they are, one Zstandard frame each."""

    def write(self, columns: npt.NDArray[Any], header: PageHeader, out: Bytes, at: int, sizes: Sizes) -> int:
        """See :class:`PageWriter`."""
        return write_frames(frames(columns), header, out, at, sizes)


def write_frames(pages: Iterable[memoryview], header: PageHeader, out: Bytes, at: int, sizes: Sizes) -> int:
    """See :meth:`PageWriter.write`; ``pages``: the compressed content of each."""
    view = out.data
    for number, page in enumerate(pages):
        head = header.of(len(page))
        sizes[number] = len(head) + len(page), len(head)
        for piece in (head, page):
            view[at : (at := at + len(piece))] = piece
    return at


def frames(rows: npt.NDArray[Any]) -> Iterator[memoryview]:
    """A Zstandard frame (level 1) for each row of C-contiguous ``rows`` (C, T).

    In one call: threads that ask for each row alone spend their time waiting for the interpreter.
    """
    compressor = zstandard.ZstdCompressor(level=1)
    if not rows.size:
        return (memoryview(compressor.compress(b"")) for _ in rows)
    n_bytes = rows[0].nbytes
    places = np.stack([np.arange(len(rows)) * n_bytes, np.full(len(rows), n_bytes)], axis=1).astype(np.uint64)
    packed = compressor.multi_compress_to_buffer(zstandard.BufferWithSegments(rows.data, places.tobytes()))
    buffers: Any = (packed[number] for number in range(len(rows)))  # which their type does not say
    return map(memoryview, buffers)
