"""Parquet files of one row group and one page per column, put together in memory.

The content is what a Parquet library writes; only the way is shorter. Uncompressed values go from the rows of the model
straight to their place in the file, in one transposition, and the pages can be read back the same way
(:mod:`pipeline.store.column_files.plain_columns`). Row ids that count up by one take 5 bytes per 128
(DELTA_BINARY_PACKED).

Format: https://github.com/apache/parquet-format (``parquet.thrift``), encoded in Thrift's compact protocol.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.store.column_files.column_source import ColumnSource
from pipeline.store.column_files.pages import PageWriter, WholePages, frames, page_header
from pipeline.store.column_files.split_pages import SplitPages
from pipeline.store.column_files.thrift_compact import (
    Value,
    binary,
    encoded_structures,
    i32,
    i64,
    listing,
    structure,
    varint,
    varints,
    zigzag,
)
from pipeline.store.column_files.whole_file import Written, file_memory, write_whole

_MAGIC = b"PAR1"
_CREATED_BY = b"neuronmill"
# numbers of parquet.thrift
_INT64, _FLOAT, _FIXED_LEN_BYTE_ARRAY = 2, 4, 7
_UNCOMPRESSED, _ZSTD = 0, 6
_PLAIN, _RLE, _DELTA_BINARY_PACKED, _BYTE_STREAM_SPLIT = 0, 3, 5, 9
#: Lists of columns whose encoded form is kept: those of a few components' blocks.
_KNOWN = 16
#: Values of a block of DELTA_BINARY_PACKED, in four miniblocks.
_DELTA_BLOCK = 128
#: Bytes of columns that are transposed at once before they are compressed: they stay in the cache.
_CHUNK_BYTES = 2 << 20
#: Columns that tell how a file is best compressed.
_SAMPLE_COLUMNS = 16
#: zstd writes float16 at a tenth and reads it at a third of the plain rate: the share of its size it has to come to.
_WORTHWHILE = 0.85
#: What a page, header included, may be longer than its content (besides a block header per 128 KiB of a stream); what
#: a column takes in the footer besides its name.
_PAGE_SLACK, _FOOTER_SLACK = 512, 256


@dataclass(frozen=True)
class ColumnKind:
    """How the neurons' columns are stored."""

    physical: int
    encoding: int
    codec: int
    n_bytes: int
    """Bytes of a value."""

    def element(self, name: str) -> Value:
        """Its SchemaElement."""
        if self.physical == _FLOAT:
            return structure({1: i32(_FLOAT), 3: i32(0), 4: binary(name.encode())})
        float16 = structure({15: structure({})})
        fields = {1: i32(self.physical), 2: i32(self.n_bytes), 3: i32(0), 4: binary(name.encode()), 10: float16}
        return structure(fields)


PLAIN_FLOAT16 = ColumnKind(_FIXED_LEN_BYTE_ARRAY, _PLAIN, _UNCOMPRESSED, 2)
PACKED_FLOAT16 = ColumnKind(_FIXED_LEN_BYTE_ARRAY, _PLAIN, _ZSTD, 2)
SPLIT_FLOAT = ColumnKind(_FLOAT, _BYTE_STREAM_SPLIT, _ZSTD, 4)


@dataclass
class _Pages:
    """Where the columns' pages lie in the file, and what they hold: headers included."""

    start: int
    compressed: list[int]
    uncompressed: list[int]

    @property
    def end(self) -> int:
        return self.start + sum(self.compressed)


def float16_kind(source: ColumnSource) -> ColumnKind:
    """How to store float16 bits: compressed if a sample says that it pays."""
    sample = _sample(source)
    size = sum(map(len, frames(sample))) if sample.size else 0
    return PACKED_FLOAT16 if 0 < size < _WORTHWHILE * sample.nbytes else PLAIN_FLOAT16


def write_columns(
    path: Path | str,
    source: ColumnSource,
    kind: ColumnKind,
    names: Sequence[str],
    row_ids: npt.NDArray[np.int64],
    metadata: Mapping[bytes, bytes],
) -> Written:
    """Write ``row_id`` and one column per neuron of ``source``.

    ``source``: ``uint16`` bits of float16 or (as ``SPLIT_FLOAT``) bfloat16, or float32; ``names``: of its N columns;
    ``row_ids``: (T,) increasing; ``metadata``: keys and values of the footer.
    """
    n_rows = len(row_ids)
    ids, encoding = _encoded_row_ids(row_ids)
    ids_page = page_header(len(ids), n_rows, encoding).of(len(ids)) + ids
    start = len(_MAGIC) + len(ids_page)
    n_content = len(names) * (kind.n_bytes * n_rows + n_rows // 128 + _PAGE_SLACK + _FOOTER_SLACK)
    texts = [*(name.encode() for name in names), *metadata.keys(), *metadata.values()]
    n_footer = sum(2 * len(text) + 32 for text in texts) + 4096
    with file_memory(start + n_content + n_footer) as memory:
        memory[:start] = _MAGIC + ids_page
        fill = _fill_plain if kind.codec == _UNCOMPRESSED else _fill_packed
        pages = fill(memory, start, source, kind)
        id_chunk = _id_chunk(row_ids, encoding, len(ids_page))
        make = _equal_chunks if kind.codec == _UNCOMPRESSED else _chunks
        chunks = make(tuple(names), n_rows, kind, pages.start, tuple(pages.compressed), tuple(pages.uncompressed))
        footer = _footer(id_chunk, chunks, names, kind, n_rows, pages, metadata)
        tail = footer + len(footer).to_bytes(4, "little") + _MAGIC
        memory[pages.end : pages.end + len(tail)] = tail
        return write_whole(path, memory, pages.end + len(tail))


def _fill_plain(memory: mmap.mmap, start: int, source: ColumnSource, kind: ColumnKind) -> _Pages:
    """Headers and values side by side: the transposition writes into the file's own memory."""
    n_columns, n_rows = source.shape
    n_bytes = kind.n_bytes * n_rows
    header = page_header(n_bytes, n_rows, kind.encoding).of(n_bytes)
    stride = len(header) + n_bytes
    headers = np.ndarray((n_columns, len(header)), np.uint8, memory, start, (stride, 1))
    headers[:] = np.frombuffer(header, np.uint8)
    values = np.ndarray((n_columns, n_rows), source.dtype, memory, start + len(header), (stride, kind.n_bytes))
    source.copy(slice(n_columns), values)
    return _Pages(start, [stride] * n_columns, [stride] * n_columns)


def _fill_packed(memory: mmap.mmap, start: int, source: ColumnSource, kind: ColumnKind) -> _Pages:
    """Columns compressed one by one, some of them transposed at a time."""
    n_columns, n_rows = source.shape
    writer: PageWriter = SplitPages(_sample(source)) if kind == SPLIT_FLOAT else WholePages()
    n_bytes = kind.n_bytes * n_rows
    header, sizes = page_header(n_bytes, n_rows, kind.encoding), np.empty((n_columns, 2), np.int64)
    step = min(n_columns, max(1, _CHUNK_BYTES // max(1, source.dtype.itemsize * n_rows)))
    chunk, out, at = np.empty((step, n_rows), source.dtype), np.frombuffer(memory, np.uint8), start
    for first in range(0, n_columns, step):
        columns = slice(first, min(first + step, n_columns))
        part = chunk[: columns.stop - first]
        source.copy(columns, part)
        at = writer.write(part, header, out, at, sizes[columns])
    return _Pages(start, sizes[:, 0].tolist(), (sizes[:, 1] + n_bytes).tolist())


def _sample(source: ColumnSource) -> npt.NDArray[Any]:
    """A few of the columns, all over the layer."""
    n_columns, n_rows = source.shape
    columns = slice(0, n_columns, max(1, n_columns // _SAMPLE_COLUMNS))
    sample = np.empty((len(range(*columns.indices(n_columns))), n_rows), source.dtype)
    source.copy(columns, sample)
    return sample


def _encoded_row_ids(row_ids: npt.NDArray[np.int64]) -> tuple[bytes, int]:
    """Page content and encoding of the row ids."""
    n_rows = len(row_ids)
    if n_rows == 0 or (np.diff(row_ids) != 1).any():
        return row_ids.astype("<i8").tobytes(), _PLAIN
    # block size, miniblocks, values, first value; then per block the smallest delta (1) and four bit widths of 0
    head = varint(_DELTA_BLOCK) + varint(4) + varint(n_rows) + zigzag(int(row_ids[0]))
    return head + (zigzag(1) + bytes(4)) * -(-(n_rows - 1) // _DELTA_BLOCK), _DELTA_BINARY_PACKED


def _id_chunk(row_ids: npt.NDArray[np.int64], encoding: int, size: int) -> bytes:
    fields = {
        1: i32(_INT64),
        2: listing([i32(encoding), i32(_RLE)]),
        3: listing([binary(b"row_id")]),
        4: i32(_UNCOMPRESSED),
        5: i64(len(row_ids)),
        6: i64(size),
        7: i64(size),
        9: i64(len(_MAGIC)),
    }
    if len(row_ids):
        low, high = (int(value).to_bytes(8, "little", signed=True) for value in (row_ids[0], row_ids[-1]))
        fields[12] = structure({3: i64(0), 5: binary(high), 6: binary(low)})
    return structure({2: i64(0), 3: structure(fields)}).content


def _chunks(
    names: tuple[str, ...],
    n_rows: int,
    kind: ColumnKind,
    start: int,
    compressed: tuple[int, ...],
    uncompressed: tuple[int, ...],
) -> list[bytes]:
    """Column chunks of the neurons; they differ in name, sizes and place alone, so the rest is made once."""
    # ColumnChunk: file_offset (2), meta_data (3); there type (1), encodings (2), a path of one name (3)
    encodings = listing([i32(kind.encoding), i32(_RLE)]).content
    before = b"\x26\x00\x1c" + b"\x15" + zigzag(kind.physical) + b"\x19" + encodings + b"\x19\x18"
    # codec (4), number of values (5), both sizes (6, 7), and the page's offset (9)
    middle = b"\x15" + zigzag(kind.codec) + b"\x16" + zigzag(n_rows) + b"\x16"
    sizes = np.array(compressed, np.uint64)
    numbers = np.array(uncompressed, np.uint64), sizes, start + np.cumsum(sizes) - sizes
    return [
        b"".join((before, name, middle, full, b"\x16", packed, b"\x26", offset, b"\x00\x00"))
        for name, full, packed, offset in zip(
            _encoded_names(names), *(varints(2 * column) for column in numbers), strict=True
        )
    ]


#: Uncompressed, they are the same for all layers of a component in a shard.
_equal_chunks = lru_cache(_KNOWN)(_chunks)


@lru_cache(_KNOWN)
def _schema(names: tuple[str, ...], kind: ColumnKind) -> Value:
    """The columns; the same for every file of a series."""
    elements = [structure({4: binary(b"schema"), 5: i32(len(names) + 1)})]
    elements.append(structure({1: i32(_INT64), 3: i32(0), 4: binary(b"row_id")}))
    return listing(elements + [kind.element(name) for name in names])


@lru_cache(_KNOWN)
def _encoded_names(names: tuple[str, ...]) -> list[bytes]:
    return [binary(name.encode()).content for name in names]


def _footer(
    id_chunk: bytes,
    chunks: list[bytes],
    names: Sequence[str],
    kind: ColumnKind,
    n_rows: int,
    pages: _Pages,
    metadata: Mapping[bytes, bytes],
) -> bytes:
    """FileMetaData: schema, one row group, key-value metadata."""
    n_bytes = pages.start - len(_MAGIC) + sum(pages.uncompressed)
    group = structure({1: encoded_structures([id_chunk, *chunks]), 2: i64(n_bytes), 3: i64(n_rows)})
    pairs = [structure({1: binary(key), 2: binary(value)}) for key, value in metadata.items()]
    order = structure({1: structure({})}).content  # minima and maxima by the order of the type
    return structure(
        {
            1: i32(2),
            2: _schema(tuple(names), kind),
            3: i64(n_rows),
            4: listing([group]),
            5: listing(pairs),
            6: binary(_CREATED_BY),
            7: encoded_structures([order] * (len(names) + 1)),
        }
    ).content
