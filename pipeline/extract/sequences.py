"""What a forward pass over a shard reads: token sequences, the row of every token, and batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.rows import RowAssignment


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Token sequences (windows of sentences) of one shard.

    ``token_ids``: int32[n_tokens]; ``offsets``: int64[W + 1], sequence w is ``token_ids[offsets[w]:offsets[w + 1]]``;
    ``token_row``: int64[n_tokens], row of the shard from 0, -1 for none; ``n_rows``: rows of the shard, T.
    Raises ``ValueError`` where the arrays do not fit together, a sequence is empty, or a row has no token.
    """

    token_ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    token_row: npt.NDArray[np.int64]
    n_rows: int

    def __post_init__(self) -> None:
        n_tokens = len(self.token_ids)
        if (
            len(self.token_row) != n_tokens
            or len(self.offsets) == 0
            or self.offsets[0] != 0
            or self.offsets[-1] != n_tokens
        ):
            raise ValueError(
                f"token_row and offsets must cover {n_tokens} token_ids; "
                f"got {len(self.token_row)} rows, offsets to {self.offsets[-1:]}"
            )
        if (np.diff(self.offsets) <= 0).any():
            raise ValueError("offsets must increase: a sequence has at least one token")
        if n_tokens and not -1 <= self.token_row.min() <= self.token_row.max() < self.n_rows:
            raise ValueError(
                f"token_row must lie in -1 … {self.n_rows - 1}; got {self.token_row.min()} … {self.token_row.max()}"
            )
        if (np.bincount(self.token_row[self.token_row >= 0], minlength=self.n_rows) == 0).any():
            raise ValueError("every row needs at least one token")

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens per sequence, int64[W]."""
        return np.diff(self.offsets)


def build_sequences(sentences: Sequence[EncodedSentence], rows: Sequence[RowAssignment]) -> Sequences:
    """Sequences of a shard from its sentences and their rows, both in corpus order; rows are numbered in that order."""
    if len(sentences) != len(rows):
        raise ValueError(f"{len(sentences)} sentences but {len(rows)} row assignments")
    token_ids = [s.token_id for s in sentences]
    first_rows = np.concatenate([[0], np.cumsum([r.n_rows for r in rows], dtype=np.int64)])
    token_row = [
        np.where(r.token_row >= 0, r.token_row + first, -1) for r, first in zip(rows, first_rows[:-1], strict=True)
    ]
    starts_window = np.concatenate([np.empty(0, dtype=bool), *(s.position == 0 for s in sentences)])
    flat_ids = np.concatenate([np.empty(0, dtype=np.int32), *token_ids])
    return Sequences(
        token_ids=flat_ids,
        offsets=np.append(np.flatnonzero(starts_window), len(flat_ids)).astype(np.int64),
        token_row=np.concatenate([np.empty(0, dtype=np.int64), *token_row]),
        n_rows=int(first_rows[-1]),
    )


def select_sequences(sequences: Sequences, members: npt.NDArray[np.int64]) -> Sequences:
    """The sequences whose indices are ``members``, in that order, with their rows numbered anew from 0.

    A row whose tokens lie in several windows keeps those of the windows that were chosen.
    """
    lengths = sequences.lengths[members]
    ends = np.cumsum(lengths)
    token = np.arange(int(lengths.sum())) + np.repeat(sequences.offsets[members] - (ends - lengths), lengths)
    rows, token_row = np.unique(sequences.token_row[token], return_inverse=True)
    without = int(len(rows) > 0 and rows[0] < 0)  # -1, of tokens without a row
    return Sequences(
        token_ids=sequences.token_ids[token],
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        token_row=token_row.astype(np.int64) - without,
        n_rows=len(rows) - without,
    )


def members_with_rows(sequences: Sequences) -> npt.NDArray[np.int64]:
    """Indices of the sequences that have to be run: a token of theirs goes into a row."""
    n_tokens = np.concatenate([[0], np.cumsum(sequences.token_row >= 0)])[sequences.offsets]
    return np.flatnonzero(np.diff(n_tokens))


def with_rows(sequences: Sequences) -> Sequences:
    """The sequences that have to be run."""
    return select_sequences(sequences, members_with_rows(sequences))


def make_batches(lengths: npt.NDArray[np.int64], token_budget: int) -> list[npt.NDArray[np.int64]]:
    """Group sequences of similar length: longest first, ties in order, at most ``token_budget`` padded tokens a batch.

    ``lengths``: int64[W]. Returns index arrays that hold every sequence once. A sequence longer than the budget is a
    batch of its own. Longest first, so that memory that does not suffice shows at once.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, first = [], 0
    while first < len(order):
        n_sequences = max(1, token_budget // max(1, int(lengths[order[first]])))
        batches.append(order[first : first + n_sequences].astype(np.int64))
        first += n_sequences
    return batches
