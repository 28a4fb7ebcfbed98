"""Entropy-coded blocks as zstd reads them, whatever the stream, and codes against Huffman's by the standard library."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.column_files.huffman_code import MAX_BITS, code_lengths
from pipeline.store.column_files.zstd_blocks import BLOCK_HEADER_BYTES, COMPRESSED, LARGEST_BLOCK, RAW, RUN, write_block


def written(stream):
    """The block of a stream, in memory of which it must take no more than it may."""
    out = np.full(len(stream) + BLOCK_HEADER_BYTES + 50, 0xA5, np.uint8)
    end = write_block(stream, True, out, 0, np.zeros(len(stream) // 16 + 8, np.uint64))
    assert end <= len(stream) + BLOCK_HEADER_BYTES
    assert (out[len(stream) + BLOCK_HEADER_BYTES :] == 0xA5).all()
    return out[:end].tobytes()


def kind_of(block):
    return block[0] >> 1 & 3


def read_by_zstd(block, n_bytes):
    frame = b"\x28\xb5\x2f\xfd\xa0" + n_bytes.to_bytes(4, "little") + block
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


def uniform(rng, n):
    return rng.integers(0, 256, n)


def bell(rng, n):
    return (rng.standard_normal(n) * rng.choice([0.5, 2, 10, 30]) + 128).clip(0, 255)


def steep(rng, n):
    return rng.geometric(rng.choice([0.05, 0.3, 0.5, 0.9]), n).clip(1, 256) - 1


def exponents(rng, n):
    return rng.standard_normal(n).astype(np.float32).view(np.uint32) >> 24


def two_values(rng, n):
    return rng.choice(rng.choice(256, 2, replace=False), n)


def one_value(rng, n):
    return np.full(n, rng.integers(0, 256))


def one_stranger(rng, n):
    stream = one_value(rng, n)
    stream[rng.integers(0, n)] ^= 0xFF
    return stream


def fibonacci(rng, n):
    """Counts whose code would be as long as there are values."""
    counts = [1, 1]
    while sum(counts) < n:
        counts.append(counts[-1] + counts[-2])
    values = rng.permutation(256)[: len(counts)]
    return rng.permutation(np.repeat(values, counts)[:n])


@settings(max_examples=300, deadline=None)
@given(
    make=st.sampled_from([uniform, bell, steep, exponents, two_values, one_value, one_stranger, fibonacci]),
    n=st.sampled_from([1, 2, 255, 256, 257, 260, 300, 1000, 4097, (1 << 14) - 1, 1 << 14, 20_000, LARGEST_BLOCK]),
    seed=st.integers(0, 2**32 - 1),
)
def test_zstd_reads_what_was_written(make, n, seed):
    stream = make(np.random.default_rng(seed), n).astype(np.uint8)
    assert read_by_zstd(written(stream), n) == stream.tobytes()


@pytest.mark.parametrize(
    ("make", "n", "kind"),
    [
        (one_value, 1, RUN),
        (one_value, LARGEST_BLOCK, RUN),
        (two_values, 255, RAW),
        (two_values, 2000, COMPRESSED),
        (fibonacci, LARGEST_BLOCK, COMPRESSED),
        (exponents, 5000, COMPRESSED),
        (uniform, LARGEST_BLOCK, RAW),
    ],
)
def test_each_stream_gets_the_kind_of_block_it_deserves(make, n, kind):
    assert kind_of(written(make(np.random.default_rng(3), n).astype(np.uint8))) == kind


def test_a_stream_takes_little_more_than_its_entropy():
    stream = exponents(np.random.default_rng(0), 8192).astype(np.uint8)
    shares = np.bincount(stream) / len(stream)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() * len(stream) / 8
    assert entropy < len(written(stream)) < 1.06 * entropy


def huffman_bits(counts):
    """Bits of an optimal code without a longest length, by a heap."""
    heap, bits = [int(count) for count in counts if count], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits


a_count = st.one_of(st.just(0), st.integers(1, 10), st.integers(1, 2**17))


@settings(max_examples=300, deadline=None)
@given(st.lists(a_count, min_size=256, max_size=256).filter(lambda counts: sum(count > 0 for count in counts) > 1))
def test_codes_are_complete_and_as_short_as_huffmans(counts):
    counts, lengths = np.array(counts), np.empty(256, np.int64)
    longest = code_lengths(counts, lengths)
    assert longest == lengths.max() <= MAX_BITS
    assert ((lengths > 0) == (counts > 0)).all()
    assert sum(2.0 ** -int(length) for length in lengths if length) == 1
    bits, best = int((counts * lengths).sum()), huffman_bits(counts)
    assert bits == best if longest < MAX_BITS else best <= bits <= 1.2 * best
