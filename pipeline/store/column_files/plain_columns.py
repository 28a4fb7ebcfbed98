"""Columns of uncompressed Parquet files, from the page cache straight to their place in an array.

A required column, plain and uncompressed, whose chunk is a single page, lies in the file as a short header and then its
values as they are in memory. ``preadv`` puts such values where the caller wants them with one copy; Arrow takes two and
an allocation for each column.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

#: A page header without statistics takes about 20 bytes.
_MAX_HEADER = 64


def read_plain_columns(
    path: str, metadata: Any, columns: Sequence[int], into: npt.NDArray[Any], n_threads: int = 1
) -> bool:
    """Read ``columns`` (by their numbers) of the local file ``path`` into the rows of ``into``, (n, T) C-contiguous.

    ``metadata``: the file's Parquet footer; ``n_threads`` share the columns. False, with ``into`` in any state, if a
    chunk is not a single plain page of exactly T values of that size; another reader has to be asked then.
    """
    if metadata.num_row_groups != 1:
        return False
    group = metadata.row_group(0)
    n_bytes = into[0].nbytes
    chunks = [group.column(column) for column in columns]
    if not all(_is_plain(chunk, n_bytes) for chunk in chunks):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if n_threads == 1:
            return _read_all(descriptor, chunks, into)
        parts = [slice(len(chunks) * t // n_threads, len(chunks) * (t + 1) // n_threads) for t in range(n_threads)]
        with ThreadPoolExecutor(n_threads) as pool:  # reading leaves Python's lock alone
            return all(pool.map(lambda part: _read_all(descriptor, chunks[part], into[part]), parts))
    finally:
        os.close(descriptor)


def _is_plain(chunk: Any, n_bytes: int) -> bool:
    return (
        chunk.compression == "UNCOMPRESSED"
        and not chunk.has_dictionary_page
        and "PLAIN" in chunk.encodings
        and 0 < chunk.total_compressed_size - n_bytes <= _MAX_HEADER
    )


def _read_all(descriptor: int, chunks: Sequence[Any], into: npt.NDArray[Any]) -> bool:
    return all(_read(descriptor, chunk, row) for chunk, row in zip(chunks, into, strict=True))


def _read(descriptor: int, chunk: Any, row: npt.NDArray[Any]) -> bool:
    """One chunk into ``row``; False unless its header says that one page holds all of it."""
    header = bytearray(chunk.total_compressed_size - row.nbytes)
    n_read = os.preadv(descriptor, [header, row.data.cast("B")], chunk.data_page_offset)
    return n_read == chunk.total_compressed_size and _first_page(header) == (0, row.nbytes)


def _first_page(header: bytes | bytearray) -> tuple[int, int] | None:
    """Type (0: data) and uncompressed size of a page, the first fields of its header in Thrift's compact protocol."""
    position, values = 0, []
    for _ in range(2):
        if position >= len(header) or header[position] != 0x15:  # the next field, an i32
            return None
        position, shift, number = position + 1, 0, 0
        while True:
            if position >= len(header):
                return None
            byte = header[position]
            number |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                break
        values.append((number >> 1) ^ -(number & 1))
    return values[0], values[1]
