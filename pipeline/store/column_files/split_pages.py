"""Parquet pages of floats, their bytes split into streams (BYTE_STREAM_SPLIT) and each stream packed as it deserves.

BYTE_STREAM_SPLIT puts the first bytes of all values one after the other, then the second bytes, and so on. Of
activations only the last stream, sign and exponent, is compressible, to about a third, and that by its frequencies
alone. A page is therefore one Zstandard frame whose blocks are made stream by stream: *run* (all zero: the lower half
of bfloat16), *raw* (noise), and in the end *entropy coded* (:mod:`pipeline.store.column_files.zstd_blocks`). Any reader
of Zstandard takes it.

Frame format: RFC 8878 (https://www.rfc-editor.org/rfc/rfc8878), section 3.1.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import kernel
from pipeline.store.column_files.pages import Bytes, PageHeader, Sizes, frames, write_frames
from pipeline.store.column_files.zstd_blocks import (
    BLOCK_HEADER_BYTES,
    LARGEST_BLOCK,
    RAW,
    RUN,
    write_block,
    write_bytes,
    write_number,
)

Bits = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

_MAGIC = 0xFD2FB528
#: Frame header descriptor: a content size of four bytes, one segment.
_SIZE_OF_FOUR = 0xA0
_FRAME_HEADER_BYTES = 9
#: Bytes of a float32 as the file has it.
_FLOAT_BYTES = 4
#: The lower streams are searched for repetitions if that packs a sample of them to less than this share: unpacking
#: costs readers time.
_WORTHWHILE = 0.92


class SplitPages:
    """Writes pages of float columns. ``sample``: some of the columns (n, T), which decide how all are packed."""

    def __init__(self, sample: npt.NDArray[Any]) -> None:
        streams = _byte_streams(sample)[:-1]
        self._is_noise = sample.size > 0 and all(
            sum(map(len, frames(stream))) >= _WORTHWHILE * stream.nbytes for stream in streams
        )

    def write(self, columns: npt.NDArray[Any], header: PageHeader, out: Bytes, at: int, sizes: Sizes) -> int:
        """See :class:`~pipeline.store.column_files.pages.PageWriter`; ``columns``: float32, or bits of bfloat16."""
        if self._is_noise:
            before, after = (np.frombuffer(part, np.uint8) for part in header)
            bits = columns.view(f"u{columns.itemsize}")
            return _write_spliced(bits, columns.itemsize, before, after, out, at, sizes)
        streams = _byte_streams(columns)
        zeros = [np.zeros_like(streams[0])] * (_FLOAT_BYTES - len(streams))
        return write_frames(frames(np.concatenate([*zeros, *streams], axis=1)), header, out, at, sizes)


def _byte_streams(columns: npt.NDArray[Any]) -> list[Bytes]:
    """The lowest bytes of C-contiguous ``columns`` (C, T), each (C, T), then the next ones, and so on."""
    values = columns.view(np.uint8).reshape(*columns.shape, columns.itemsize)
    return [np.ascontiguousarray(values[:, :, place]) for place in range(columns.itemsize)]


@kernel
def _write_spliced(columns: Bits, n_bytes: int, before: Bytes, after: Bytes, out: Bytes, at: int, sizes: Sizes) -> int:
    """Pages whose lower streams are raw; ``columns`` (C, T) unsigned of ``n_bytes``."""
    n_rows = columns.shape[1]
    parts = range(0, n_rows, LARGEST_BLOCK)
    n_zeros, n_raw = _FLOAT_BYTES - n_bytes, n_bytes - 1
    stream, words = np.empty(min(n_rows, LARGEST_BLOCK), np.uint8), np.empty(LARGEST_BLOCK // 16 + 8, np.uint64)
    packed = np.empty(n_rows + BLOCK_HEADER_BYTES * len(parts), np.uint8)
    for number, column in enumerate(columns):
        n_packed = 0
        for start in parts:
            stop = min(start + LARGEST_BLOCK, n_rows)
            _take_bytes(column[start:stop], n_raw, stream)
            n_packed = write_block(stream[: stop - start], stop == n_rows, packed, n_packed, words)
        n_lower = n_zeros * len(parts) + n_raw * n_rows + (_FLOAT_BYTES - 1) * BLOCK_HEADER_BYTES * len(parts)
        first, n_frame = at, _FRAME_HEADER_BYTES + n_lower + n_packed
        at = _write_page_header(before, n_frame, after, out, at)
        sizes[number, 1] = at - first
        at = write_number(_MAGIC, 4, out, at)
        at = write_number(_SIZE_OF_FOUR, 1, out, at)
        at = write_number(_FLOAT_BYTES * n_rows, 4, out, at)
        for place in range(-n_zeros, n_raw):
            for start in parts:
                stop = min(start + LARGEST_BLOCK, n_rows)
                at = write_number(stop - start << 3 | (RUN if place < 0 else RAW) << 1, BLOCK_HEADER_BYTES, out, at)
                if place < 0:
                    out[at] = 0
                    at += 1
                else:
                    _take_bytes(column[start:stop], place, out[at:])
                    at += stop - start
        at = write_bytes(packed[:n_packed], out, at)
        sizes[number, 0] = at - first
    return at


@kernel
def _write_page_header(before: Bytes, n_bytes: int, after: Bytes, out: Bytes, at: int) -> int:
    """:meth:`PageHeader.of`."""
    at, number = write_bytes(before, out, at), 2 * n_bytes  # zigzag
    while number >= 0x80:
        out[at] = number & 0x7F | 0x80
        number >>= 7
        at += 1
    out[at] = number
    return write_bytes(after, out, at + 1)


@kernel
def _take_bytes(values: Bits, place: int, out: Bytes) -> None:
    """The bytes of ``values`` (n,) with ``place`` lower ones each."""
    if place == 0:  # constant shifts become vector code
        for row in range(len(values)):
            out[row] = values[row] & 0xFF
    elif place == 1:
        for row in range(len(values)):
            out[row] = values[row] >> 8 & 0xFF
    elif place == 2:
        for row in range(len(values)):
            out[row] = values[row] >> 16 & 0xFF
    else:
        for row in range(len(values)):
            out[row] = values[row] >> 24 & 0xFF
