"""Huffman codes of bytes as Zstandard describes them, compiled.

Format: RFC 8878 (https://www.rfc-editor.org/rfc/rfc8878), section 4.2 (Huffman coding; 4.1 FSE, which codes the
lengths). Lengths are coded with one distribution for all codes, :data:`_WEIGHT_SHARES`: fitting it to each would save a
dozen bytes of some thousand. Codes of some hundred values that differ little cannot be described with it at all; such
streams hardly shrink.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint64]

#: Longest code.
MAX_BITS = 11
#: How often weights 0 (no code), 1 (longest code), … 11 occur among the 256 values, of 64.
_WEIGHT_SHARES = (48, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1)
_TABLE_LOG = 6
_N_STATES = 1 << _TABLE_LOG
#: Weights up to this number are written with four bits each.
_FEW = 8
#: A description takes at most this many bytes after its first; what may be written before it turns out to be longer.
MAX_DESCRIPTION, MAX_TRIED = 127, 200


def _distribution_header() -> Bytes:
    """:data:`_WEIGHT_SHARES` as an FSE table description (section 4.1.1)."""
    bits, n_bits = _TABLE_LOG - 5, 4
    remaining, threshold, width = _N_STATES + 1, _N_STATES, _TABLE_LOG + 1
    for share in _WEIGHT_SHARES:
        largest, value = 2 * threshold - 1 - remaining, share + 1
        remaining -= share
        is_short = value < largest
        bits |= (value + largest if value >= threshold else value) << n_bits
        n_bits += width - is_short
        while remaining < threshold:
            width, threshold = width - 1, threshold >> 1
    return np.frombuffer(bits.to_bytes(-(-n_bits // 8), "little"), np.uint8)


def _encoding_table() -> tuple[Ints, Ints, Ints]:
    """What FSE encoding needs: next states; per weight what gives the number of bits, and where its states begin."""
    spread, step = np.zeros(_N_STATES, np.int64), (_N_STATES >> 1) + (_N_STATES >> 3) + 3
    place = 0
    for weight, share in enumerate(_WEIGHT_SHARES):
        for _ in range(share):
            spread[place] = weight
            place = (place + step) % _N_STATES
    states = _N_STATES + np.argsort(spread, kind="stable")
    starts = np.cumsum((0, *_WEIGHT_SHARES[:-1]))
    bits = np.zeros(len(_WEIGHT_SHARES), np.int64)
    for weight, share in enumerate(_WEIGHT_SHARES):
        most = _TABLE_LOG - ((share - 1).bit_length() - 1 if share > 1 else 0)
        bits[weight] = (most << 16) - (share << most)
    return states, bits, starts - np.array(_WEIGHT_SHARES)


_DISTRIBUTION = _distribution_header()
_NEXT_STATES, _BITS, _STARTS = _encoding_table()


@kernel
def code_lengths(counts: Ints, lengths: Ints) -> int:
    """Lengths (256,) of a complete code for the values that ``counts`` (256,) has, at least two; returns the longest.

    Huffman's code; lengths over 11 bits are cut, and paid for by the next rarest values.
    """
    order = _rarest_first(counts)
    depths = _tree_depths(counts[order])
    _limit(depths)
    lengths[:] = 0
    for place, value in enumerate(order):
        lengths[value] = depths[place]
    return int(depths[0])  # the rarest value's, which no limit makes shorter than another


@kernel
def _rarest_first(counts: Ints) -> Ints:
    """The values that occur."""
    order, n = np.empty(256, np.int64), 0
    for value in range(256):
        if counts[value]:
            place = n
            while place > 0 and counts[order[place - 1]] > counts[value]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = value
            n += 1
    return order[:n]


@kernel
def _tree_depths(counts: Ints) -> Ints:
    """Depths (n,) of the leaves of Huffman's tree for ascending ``counts`` (n,), by two queues: leaves, and joints."""
    n = len(counts)
    totals, parents = np.empty(2 * n - 1, np.int64), np.zeros(2 * n - 1, np.int64)
    totals[:n] = counts
    leaf, joint = 0, n
    for made in range(n, 2 * n - 1):
        totals[made] = 0
        for _ in range(2):
            if leaf < n and (joint >= made or totals[leaf] <= totals[joint]):
                rarest, leaf = leaf, leaf + 1
            else:
                rarest, joint = joint, joint + 1
            totals[made] += totals[rarest]
            parents[rarest] = made
    depths = np.zeros(2 * n - 1, np.int64)
    for node in range(2 * n - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[:n]


@kernel
def _limit(depths: Ints) -> None:
    """Make ``depths`` (n,), of the rarest value first, those of a complete code of at most :data:`MAX_BITS` bits."""
    room = 1 << MAX_BITS  # a code of b bits takes 2^(MAX_BITS - b) of it
    for place, depth in enumerate(depths):
        depths[place] = min(depth, MAX_BITS)
        room -= 1 << (MAX_BITS - depths[place])
    place = 0
    while room < 0:
        while depths[place] == MAX_BITS:
            place += 1
        depths[place] += 1
        room += 1 << (MAX_BITS - depths[place])
    place = len(depths) - 1
    while room > 0:
        taken = 1 << (MAX_BITS - depths[place])
        if depths[place] > 1 and taken <= room:
            room -= taken
            depths[place] -= 1
        else:
            place = (place if place > 0 else len(depths)) - 1


@kernel
def assigned_codes(lengths: Ints, longest: int) -> Codes:
    """A code in the uppermost bits and its length in the lowest, for each of 256 ``lengths``.

    Codes count up from the longest to the shortest ones, and in the order of the values.
    """
    firsts, codes = np.zeros(MAX_BITS + 1, np.int64), np.zeros(256, np.uint64)
    for length in lengths:
        firsts[length] += 1
    code = 0
    for length in range(longest, 0, -1):
        n_codes = firsts[length]
        firsts[length] = code
        code = (code + n_codes) >> 1
    for value, length in enumerate(lengths):
        if length:
            codes[value] = np.uint64(firsts[length]) << np.uint64(64 - length) | np.uint64(length)
            firsts[length] += 1
    return codes


@kernel
def write_weights(weights: Ints, n: int, out: Bytes, at: int) -> int:
    """Describe a code by ``n`` weights (longest code + 1 − length; 0 for no code); returns the end in ``out``.

    The weight of the last value that occurs is not among them: it is what the others leave. -1 if they don't fit into a
    description; up to 200 bytes (:data:`MAX_TRIED`) are written even then.
    """
    if n <= _FEW:  # four bits each
        out[at] = 127 + n
        for i in range(0, n, 2):
            out[at + 1 + i // 2] = weights[i] << 4 | (weights[i + 1] if i + 1 < n else 0)
        return at + 1 + (n + 1) // 2
    end = at + 1
    for byte in _DISTRIBUTION:
        out[end] = byte
        end += 1
    held, n_held = 0, 0
    states = np.zeros(2, np.int64)  # of the even and of the odd places
    for place in range(n - 1, -1, -1):
        weight, side = weights[place], place & 1
        bits, state = _BITS[weight], states[side]
        if place >= n - 2:  # the first one of a side costs nothing
            n_bits = (bits + (1 << 15)) >> 16
            state = (n_bits << 16) - bits
        else:
            n_bits = (state + bits) >> 16
            held |= (state & ((1 << n_bits) - 1)) << n_held
            n_held += n_bits
        states[side] = _NEXT_STATES[(state >> n_bits) + _STARTS[weight]]
        while n_held >= 8:
            out[end] = held & 0xFF
            held >>= 8
            n_held -= 8
            end += 1
    for side in (1, 0):
        held |= (states[side] & (_N_STATES - 1)) << n_held
        n_held += _TABLE_LOG
    held |= 1 << n_held
    n_held += 1
    while n_held > 0:
        out[end] = held & 0xFF
        held >>= 8
        n_held -= 8
        end += 1
    if end - at - 1 > MAX_DESCRIPTION:
        return -1
    out[at] = end - at - 1
    return end
