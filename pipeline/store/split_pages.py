"""Parquet pages of floats, their bytes split into streams (BYTE_STREAM_SPLIT) and each stream packed as it deserves.

BYTE_STREAM_SPLIT puts the first bytes of all values one after the other, then the second bytes, and so on. Of
activations only the last stream, sign and exponent, is compressible, to about a third, and that by its frequencies
alone: searching it for repetitions takes twice as long and packs it worse. A page is therefore one Zstandard frame
whose blocks are made stream by stream: *run* (all zero: the lower half of bfloat16), *raw* (noise), and in the end
*packed* (entropy coding). Any reader of Zstandard takes it.

Frame format: https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md (RFC 8878).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

Bytes = npt.NDArray[np.uint8]
Buffer = bytes | memoryview

_MAGIC = 0xFD2FB528.to_bytes(4, "little")
#: Frame header descriptor: a content size of four bytes, one segment.
_SIZE_OF_FOUR, _PLAIN_HEADER = 0xA0, 0x00
#: Bytes of the header of a frame that tells nothing but its window.
_HEADER_BYTES = 6
_RAW, _RUN = 0, 1
_LARGEST_BLOCK = 1 << 17
#: A stream is packed if a sample of it shrinks below this share: unpacking costs readers time.
_WORTHWHILE = 0.92


def packed_rows(compressor: zstandard.ZstdCompressor, rows: npt.NDArray[Any]) -> Iterator[memoryview]:
    """A frame for each row of C-contiguous ``rows`` (C, T), T ≥ 1.

    In one call: threads that ask for each row alone spend their time waiting for the interpreter.
    """
    n_bytes = rows[0].nbytes
    places = np.stack([np.arange(len(rows)) * n_bytes, np.full(len(rows), n_bytes)], axis=1).astype(np.uint64)
    packed = compressor.multi_compress_to_buffer(zstandard.BufferWithSegments(rows.data, places.tobytes()))
    frames: Any = (packed[number] for number in range(len(rows)))  # buffers, which their type does not say
    return map(memoryview, frames)


class StreamPacker:
    """Entropy coding of one stream after the other; not for two threads at once."""

    def __init__(self) -> None:
        # matches of at least 7 bytes, found by a table of 64: none but long runs
        parameters = zstandard.ZstdCompressionParameters(
            window_log=17,
            hash_log=6,
            chain_log=6,
            search_log=1,
            min_match=7,
            target_length=0,
            strategy=zstandard.STRATEGY_FAST,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters)

    def blocks(self, streams: Bytes) -> Iterator[memoryview]:
        """For each row of (C, T) ``streams``, T ≥ 1, the blocks of a frame of it, the last one marked as such."""
        for frame in packed_rows(self._compressor, streams):
            if frame[4] != _PLAIN_HEADER:
                raise ValueError(f"zstandard: wrote frame header {frame[4]:#x} where {_PLAIN_HEADER:#x} was asked for")
            yield frame[_HEADER_BYTES:]

    def pays(self, streams: Bytes) -> bool:
        """Whether packing the rows of (n, T) ``streams`` is worth it."""
        return sum(map(len, self.blocks(streams))) < _WORTHWHILE * streams.nbytes


class Streams(NamedTuple):
    """Byte streams (C, T) of (C, T) values: of the lower bytes, lowest first (None for zeros), and of the highest."""

    lower: list[Bytes | None]
    upper: Bytes


def split_streams(columns: npt.NDArray[Any], into: Bytes) -> Streams:
    """The streams of float32, or of ``uint16`` bits of bfloat16, which stand for the upper half of float32.

    ``into``: memory for the streams, (bytes of a value, ≥ C, T).
    """
    bits = columns.view(np.dtype(f"u{columns.itemsize}"))
    streams = into[:, : len(columns)]
    for place, stream in enumerate(streams):
        np.right_shift(bits, 8 * place, out=stream, casting="unsafe")  # the lowest byte of what is left
    return Streams([None] * (4 - len(streams)) + list(streams[:-1]), streams[-1])


class SplitPages:
    """Pages of float columns. ``sample``: some of the columns (n, T), which decide how the pages are packed.

    The pages of one call of :meth:`of` have to be used before the next call.
    """

    def __init__(self, sample: npt.NDArray[Any]) -> None:
        self._packer = StreamPacker()
        self._memory = np.empty((0, 0, 0), np.uint8)
        # a frame can take over the blocks of one other frame only: a second one's would refer to the first one's
        lower = [stream for stream in self._split(sample).lower if stream is not None]
        self._is_noise = sample.size > 0 and not any(self._packer.pays(stream) for stream in lower)

    def of(self, columns: npt.NDArray[Any]) -> Iterator[Sequence[Buffer]]:
        """The page of each row of (C, T) ``columns``, as pieces to put one after the other."""
        streams = self._split(columns)
        return self._spliced(streams) if self._is_noise else _searched(streams)

    def _split(self, columns: npt.NDArray[Any]) -> Streams:
        """:func:`split_streams`, in the memory of the last ones where that is large enough."""
        if self._memory.shape[1] < len(columns):
            self._memory = np.empty((columns.itemsize, *columns.shape), np.uint8)
        return split_streams(columns, self._memory)

    def _spliced(self, streams: Streams) -> Iterator[Sequence[Buffer]]:
        """Frames of raw blocks and, for the last stream, packed ones."""
        n_rows = streams.upper.shape[1]
        head = _MAGIC + bytes([_SIZE_OF_FOUR]) + (4 * n_rows).to_bytes(4, "little")
        pieces: list[tuple[bytes, Bytes]] = []
        for stream in streams.lower:
            for part in _parts(n_rows):
                kind = _RUN if stream is None else _RAW
                head += (part.stop - part.start << 3 | kind << 1).to_bytes(3, "little")
                if stream is None:
                    head += b"\0"
                else:
                    pieces.append((head, stream[:, part]))
                    head = b""
        for row, blocks in enumerate(self._packer.blocks(streams.upper)):
            page = [piece for head, stream in pieces for piece in (head, stream[row].data)]
            yield [*page, blocks]


def _searched(streams: Streams) -> Iterator[Sequence[Buffer]]:
    """Frames as a compressor makes them, which looks for repetitions."""
    compressor, upper = zstandard.ZstdCompressor(level=1), streams.upper
    if not upper.size:
        return ([compressor.compress(b"")] for _ in upper)
    zeros = np.zeros_like(upper)
    lower = [zeros if stream is None else stream for stream in streams.lower]
    return ([page] for page in packed_rows(compressor, np.concatenate([*lower, upper], axis=1)))


def _parts(n_bytes: int) -> list[slice]:
    """``n_bytes`` in blocks."""
    return [slice(start, min(start + _LARGEST_BLOCK, n_bytes)) for start in range(0, n_bytes, _LARGEST_BLOCK)]
