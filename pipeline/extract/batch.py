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
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    source: torch.Tensor
    row: Ints


def make_batch(sequences: Sequences, members: Ints, pad_token_id: int) -> Batch:
    """Batch of the sequences whose indices are ``members``, in that order."""
    lengths = sequences.lengths[members]
    width = int(lengths.max())
    ids = np.full((len(members), width), pad_token_id, dtype=np.int64)
    rows = np.full((len(members), width), -1, dtype=np.int64)
    mask = np.arange(width) < lengths[:, None]
    for b, w in enumerate(members):
        first, last = sequences.offsets[w], sequences.offsets[w + 1]
        ids[b, : last - first] = sequences.token_ids[first:last]
        rows[b, : last - first] = sequences.token_row[first:last]
    flat = rows.ravel()
    source = np.flatnonzero(flat >= 0)
    source = source[np.argsort(flat[source], kind="stable")]
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(mask.astype(np.int64)),
        torch.from_numpy(source),
        flat[source],
    )
