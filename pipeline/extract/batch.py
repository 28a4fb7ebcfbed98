"""One batch: its padded input, and where the activations of its tokens go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.sequences import Sequences

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A padded batch.

    ``input_ids``, ``attention_mask``: int64 (B, S). Tokens that have a row, ordered by row (then by token):
    ``source`` int64, the index into the flattened (B · S) axis, and ``row`` int64, the shard's row. Padding has no row.
    A packed batch has several sequences in one of its B lines: ``segment`` int64 (B, S) numbers them within the line,
    -1 for padding, and ``position`` int64 (B, S) counts each one's tokens from 0.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    source: torch.Tensor
    row: Ints
    segment: torch.Tensor | None = None
    position: torch.Tensor | None = None


def make_batch(sequences: Sequences, members: Ints, pad_token_id: int) -> Batch:
    """Batch of the sequences whose indices are ``members``, in that order."""
    return _lay_out(sequences, [[member] for member in members.tolist()], pad_token_id, is_packed=False)


def make_packed_batch(sequences: Sequences, lines: list[list[int]], pad_token_id: int) -> Batch:
    """Batch with the sequences of each of ``lines`` side by side."""
    return _lay_out(sequences, lines, pad_token_id, is_packed=True)


def _lay_out(sequences: Sequences, lines: list[list[int]], pad_token_id: int, *, is_packed: bool) -> Batch:
    lengths = sequences.lengths
    shape = (len(lines), max(int(lengths[line].sum()) for line in lines))
    ids = np.full(shape, pad_token_id, dtype=np.int64)
    rows, segments = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    for b, line in enumerate(lines):
        at = 0
        for number, w in enumerate(line):
            first, last = sequences.offsets[w], sequences.offsets[w + 1]
            place = slice(at, at + last - first)
            ids[b, place] = sequences.token_ids[first:last]
            rows[b, place] = sequences.token_row[first:last]
            segments[b, place] = number
            positions[b, place] = np.arange(last - first)
            at = place.stop
    flat = rows.ravel()
    source = np.flatnonzero(flat >= 0)
    source = source[np.argsort(flat[source], kind="stable")]
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy((segments >= 0).astype(np.int64)),
        torch.from_numpy(source),
        flat[source],
        torch.from_numpy(segments) if is_packed else None,
        torch.from_numpy(positions) if is_packed else None,
    )
