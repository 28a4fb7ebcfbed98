"""Parquet files of float16 columns, written straight from memory.

The content is what a Parquet library writes for FLOAT16, plain and uncompressed, with one row group and one page per
column; only the way is shorter. The values go from the transposed block to the file with no copy and no page buffer
(2 to 4 times the rate of Arrow's writer), and the pages can be read back the same way
(:mod:`pipeline.store.plain_columns`). Row ids that count up by one take 5 bytes per 128 (DELTA_BINARY_PACKED).

Format: https://github.com/apache/parquet-format (``parquet.thrift``), encoded in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.store.thrift_compact import Value, binary, encoded_structure, i32, i64, listing, structure, varint, zigzag

_MAGIC = b"PAR1"
_CREATED_BY = b"neuronmill"
# numbers of parquet.thrift
_INT64, _FIXED_LEN_BYTE_ARRAY = 2, 7
_PLAIN, _RLE, _DELTA_BINARY_PACKED = 0, 3, 5
#: Buffers that one call of writev takes at most (IOV_MAX of Linux).
_BUFFERS = 1024
#: Lists of columns whose encoded form is kept: those of a few components' blocks.
_KNOWN = 16
#: Values of a block of DELTA_BINARY_PACKED, in four miniblocks.
_DELTA_BLOCK = 128


def write_plain_float16(
    path: Path | str,
    columns: npt.NDArray[np.uint16],
    names: Sequence[str],
    row_ids: npt.NDArray[np.int64],
    metadata: Mapping[bytes, bytes],
) -> None:
    """Write ``row_id`` and one FLOAT16 column per row of ``columns``, (N, T) C-contiguous bits.

    ``names``: of the N columns; ``row_ids``: (T,) increasing; ``metadata``: keys and values of the footer.
    """
    n_rows = len(row_ids)
    ids, encoding = _encoded_row_ids(row_ids)
    id_header = _page_header(len(ids), n_rows, encoding)
    header = _page_header(2 * n_rows, n_rows, _PLAIN)
    first = len(_MAGIC) + len(id_header) + len(ids)
    chunk_size = len(header) + 2 * n_rows
    footer = _footer(
        _id_chunk(row_ids, encoding, len(id_header) + len(ids)),
        _chunks(names, n_rows, first, chunk_size),
        names,
        n_rows,
        first + len(names) * chunk_size - len(_MAGIC),
        metadata,
    )
    with Path(path).open("wb", buffering=0) as file:
        _write_all(file.fileno(), [_MAGIC, id_header, ids])
        # an empty buffer is no buffer to writev
        pieces = (piece for row in columns for piece in (header, memoryview(row).cast("B")) if len(piece))
        while some := list(islice(pieces, _BUFFERS)):
            _write_all(file.fileno(), some)
        _write_all(file.fileno(), [footer, len(footer).to_bytes(4, "little"), _MAGIC])


def _write_all(descriptor: int, buffers: list[bytes | memoryview]) -> None:
    """Write all buffers; a full disk takes a part of them before it says so."""
    written = os.writev(descriptor, buffers)
    if written < sum(len(buffer) for buffer in buffers):
        rest = memoryview(b"".join(buffers))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _encoded_row_ids(row_ids: npt.NDArray[np.int64]) -> tuple[bytes, int]:
    """Page content and encoding of the row ids."""
    n_rows = len(row_ids)
    if n_rows == 0 or (np.diff(row_ids) != 1).any():
        return row_ids.astype("<i8").tobytes(), _PLAIN
    # block size, miniblocks, values, first value; then per block the smallest delta (1) and four bit widths of 0
    head = varint(_DELTA_BLOCK) + varint(4) + varint(n_rows) + zigzag(int(row_ids[0]))
    return head + (zigzag(1) + bytes(4)) * -(-(n_rows - 1) // _DELTA_BLOCK), _DELTA_BINARY_PACKED


def _page_header(n_bytes: int, n_rows: int, encoding: int) -> bytes:
    data_page = structure({1: i32(n_rows), 2: i32(encoding), 3: i32(_RLE), 4: i32(_RLE)})
    return structure({1: i32(0), 2: i32(n_bytes), 3: i32(n_bytes), 5: data_page}).content


def _id_chunk(row_ids: npt.NDArray[np.int64], encoding: int, size: int) -> bytes:
    fields = {
        1: i32(_INT64),
        2: listing([i32(encoding), i32(_RLE)]),
        3: listing([binary(b"row_id")]),
        4: i32(0),
        5: i64(len(row_ids)),
        6: i64(size),
        7: i64(size),
        9: i64(len(_MAGIC)),
    }
    if len(row_ids):
        low, high = (int(value).to_bytes(8, "little", signed=True) for value in (row_ids[0], row_ids[-1]))
        fields[12] = structure({3: i64(0), 5: binary(high), 6: binary(low)})
    return structure({2: i64(0), 3: structure(fields)}).content


def _chunks(names: Sequence[str], n_rows: int, first: int, size: int) -> list[bytes]:
    """Column chunks of the neurons; they differ in name and place alone, so the rest is made once."""
    mark = "\0name"
    whole = structure(
        {
            2: i64(0),
            3: structure(
                {
                    1: i32(_FIXED_LEN_BYTE_ARRAY),
                    2: listing([i32(_PLAIN), i32(_RLE)]),
                    3: listing([binary(mark.encode())]),
                    4: i32(0),
                    5: i64(n_rows),
                    6: i64(size),
                    7: i64(size),
                    9: i64(0),
                }
            ),
        }
    ).content
    before, _, after = whole.partition(binary(mark.encode()).content)
    # `after` ends with the offset 0, one byte, and the ends of the two structures
    after, ends = after[:-3], after[-2:]
    return [
        before + name + after + zigzag(first + number * size) + ends
        for number, name in enumerate(_encoded_names(tuple(names)))
    ]


@lru_cache(_KNOWN)
def _schema(names: tuple[str, ...]) -> Value:
    """The columns; the same for every file of a series."""
    required, float16 = i32(0), structure({15: structure({})})
    elements = [structure({4: binary(b"schema"), 5: i32(len(names) + 1)})]
    elements.append(structure({1: i32(_INT64), 3: required, 4: binary(b"row_id")}))
    elements.extend(
        structure({1: i32(_FIXED_LEN_BYTE_ARRAY), 2: i32(2), 3: required, 4: binary(name.encode()), 10: float16})
        for name in names
    )
    return listing(elements)


@lru_cache(_KNOWN)
def _encoded_names(names: tuple[str, ...]) -> list[bytes]:
    return [binary(name.encode()).content for name in names]


def _footer(
    id_chunk: bytes,
    chunks: list[bytes],
    names: Sequence[str],
    n_rows: int,
    n_bytes: int,
    metadata: Mapping[bytes, bytes],
) -> bytes:
    """FileMetaData: schema, one row group, key-value metadata."""
    n_columns = len(names) + 1
    group = structure(
        {1: listing([encoded_structure(chunk) for chunk in (id_chunk, *chunks)]), 2: i64(n_bytes), 3: i64(n_rows)}
    )
    pairs = [structure({1: binary(key), 2: binary(value)}) for key, value in metadata.items()]
    orders = [structure({1: structure({})})] * n_columns  # minima and maxima by the order of the type
    return structure(
        {
            1: i32(2),
            2: _schema(tuple(names)),
            3: i64(n_rows),
            4: listing([group]),
            5: listing(pairs),
            6: binary(_CREATED_BY),
            7: listing(orders),
        }
    ).content
