"""Byte streams as Zstandard blocks, compiled: entropy coding and nothing else.

A byte stream of activations (their signs and exponents) has no repetitions worth looking for, only frequent and rare
values. A Zstandard compressor of general use spends most of its time looking all the same. Here a stream of at most
128 KiB becomes one block of literals in four bitstreams, with a Huffman code of its own, or a run or raw block where
that is no longer; the bytes of the block follow from the stream alone.

Format: RFC 8878 (https://www.rfc-editor.org/rfc/rfc8878), section 3.1.1.2 (blocks) and 3.1.1.3.1 (literals).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.store.column_files.huffman_code import (
    MAX_BITS,
    MAX_DESCRIPTION,
    MAX_TRIED,
    Bytes,
    Codes,
    Ints,
    assigned_codes,
    code_lengths,
    write_weights,
)

Words = NDArray[np.uint64]

RAW, RUN, COMPRESSED = 0, 1, 2
#: Bytes of a block header; bytes of content of a block at most.
BLOCK_HEADER_BYTES, LARGEST_BLOCK = 3, 1 << 17
#: Streams shorter than this are not worth a code, and have no room for what trying one may write.
_SHORTEST = MAX_TRIED + 56
#: Bytes of the table of three bitstreams' sizes; the last byte that each of four may begin, and "no sequences".
_JUMP_TABLE_BYTES, _END_BYTES = 6, 5
#: Codes that are put together before they are written: as many as fit into a word with its last, unfinished byte.
_TOGETHER = 56 // MAX_BITS


@kernel
def _write_bits(stream: Bytes, codes: Codes, words: Words) -> int:
    """The codes of ``stream``, from its end, as a bitstream with its end mark; returns its bytes.

    ``codes`` (256,): a code in the uppermost bits, its length in the lowest. Without branches but the loop's: whether a
    word is full is a coin toss.
    """
    held, n_held, at = np.uint64(0), np.uint64(0), 0
    last, word, log = np.uint64(63), np.uint64(64), np.uint64(6)
    place = len(stream)
    while place > 0:
        some, lengths = np.uint64(0), np.uint64(0)
        if place >= _TOGETHER:
            for back in range(1, _TOGETHER + 1):
                code = codes[stream[place - back]]
                some = some >> (code & last) | code
                lengths += code
            place -= _TOGETHER
        else:
            place -= 1
            some = lengths = codes[stream[place]]
        n_some = lengths & np.uint64(0xFF)
        some >>= (word - n_some) & last
        held |= some << n_held
        words[at] = held
        n = n_held + n_some
        is_full = n >> log
        held = some >> np.uint64(1) >> (last - n_held) if is_full else held
        at += int(is_full)
        n_held = n & last
    words[at] = held | np.uint64(1) << n_held
    return 8 * at + int(n_held) // 8 + 1


@kernel
def _counted(stream: Bytes) -> Ints:
    """How often each value occurs, (256,); by four counters, as adding to one twice in a row has to wait."""
    parts, n = np.zeros((4, 256), np.uint32), len(stream)
    for place in range(0, n - 3, 4):
        for part in range(4):
            parts[part, stream[place + part]] += np.uint32(1)
    for place in range(n - n % 4, n):
        parts[0, stream[place]] += np.uint32(1)
    counts = np.empty(256, np.int64)
    for value in range(256):
        counts[value] = parts[0, value] + parts[1, value] + parts[2, value] + parts[3, value]
    return counts


@kernel
def write_bytes(content: Bytes, out: Bytes, at: int) -> int:
    """Write ``content`` into ``out``, of which it is no part; returns its end."""
    for place in range(len(content)):
        out[at + place] = content[place]
    return at + len(content)


@kernel
def write_number(number: int, n_bytes: int, out: Bytes, at: int) -> int:
    """Write ``number`` in ``n_bytes``, the lowest first; returns their end."""
    for byte in range(n_bytes):
        out[at + byte] = number >> (8 * byte) & 0xFF
    return at + n_bytes


@kernel
def write_block(stream: Bytes, is_last: bool, out: Bytes, at: int, words: Words) -> int:
    """Write ``stream`` (n,), 1 ≤ n ≤ 128 KiB, as one block, header included; returns its end in ``out``.

    It takes n + 3 bytes at most. ``words``: memory for n ÷ 16 + 8 words, a bitstream of a quarter.
    """
    n = len(stream)
    counts = _counted(stream)
    kind, size = RAW, n
    if counts[stream[0]] == n:
        kind = RUN
    elif n >= _SHORTEST:
        end = _write_literals(stream, counts, out, at + BLOCK_HEADER_BYTES, words)
        if end > 0:
            kind, size = COMPRESSED, end - at - BLOCK_HEADER_BYTES
    at = write_number(size << 3 | kind << 1 | is_last, BLOCK_HEADER_BYTES, out, at)
    if kind == RUN:
        out[at] = stream[0]
        return at + 1
    return write_bytes(stream, out, at) if kind == RAW else at + size


@kernel
def _write_literals(stream: Bytes, counts: Ints, out: Bytes, start: int, words: Words) -> int:
    """The content of a compressed block, literals in four bitstreams and no sequences; returns its end.

    -1 if it could be longer than ``stream``.
    """
    n, lengths = len(stream), np.empty(256, np.int64)
    longest = code_lengths(counts, lengths)
    n_bits = (counts * lengths).sum()
    n_header = 4 if n < 1 << 14 else 5
    if n_header + 1 + MAX_DESCRIPTION + _JUMP_TABLE_BYTES + n_bits // 8 + _END_BYTES >= n:
        return -1
    weights = np.where(lengths > 0, longest + 1 - lengths, 0)
    codes = assigned_codes(lengths, longest)
    at = write_weights(weights, np.flatnonzero(lengths)[-1], out, start + n_header)
    if at < 0:
        return -1
    table, at = at, at + _JUMP_TABLE_BYTES
    quarter = (n + 3) // 4
    for number in range(4):
        size = _write_bits(stream[number * quarter : min((number + 1) * quarter, n)], codes, words)
        out[at : at + size] = words.view(np.uint8)[:size]
        at += size
        if number < 3:
            write_number(size, 2, out, table + 2 * number)
    n_packed = at - start - n_header
    head = 2 | (2 if n_header == 4 else 3) << 2 | n << 4 | n_packed << (18 if n_header == 4 else 22)
    write_number(head, n_header, out, start)
    out[at] = 0  # no sequences
    return at + 1
