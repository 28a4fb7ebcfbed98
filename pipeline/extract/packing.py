"""Packing: several sequences in one line of a batch, which a block-diagonal mask keeps apart.

Padding all but vanishes whatever the lengths are. What is paid for it: attention is computed over whole lines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.batch import Batch

#: Tokens of a line: room for several sentences, and short enough for attention over the whole line, and for the mask,
#: to stay cheap beside the rest of a block. Longer sequences are not packed.
LINE_LENGTH = 128


def line_length(token_budget: int) -> int:
    """Tokens of a line: :data:`LINE_LENGTH`, or the budget of a batch where that is less."""
    return min(LINE_LENGTH, token_budget)


def pack_lines(lengths: npt.NDArray[np.int64], token_budget: int) -> list[list[list[int]]]:
    """Batches of lines of sequences: longest first, each into the fullest line with room (best fit decreasing).

    ``lengths``: int64[W], at most :func:`line_length`. A batch has at most ``token_budget`` tokens, padding included.
    Every sequence is in exactly one line.
    """
    longest = line_length(token_budget)
    lines: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(longest + 1)]
    for w in np.argsort(-lengths, kind="stable").tolist():
        need = int(lengths[w])
        room = next((room for room in range(need, longest) if with_room[room]), longest)
        if with_room[room]:
            number = with_room[room].pop()
        else:
            number = len(lines)
            lines.append([])
        lines[number].append(w)
        with_room[room - need].append(number)
    n_lines = token_budget // longest
    return [lines[first : first + n_lines] for first in range(0, len(lines), n_lines)]


def block_mask(batch: Batch, *, is_causal: bool, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What is added to the attention scores, (B, 1, S, S): 0 within a sequence, the lowest number elsewhere.

    ``is_causal``: and only from later to earlier tokens. Padding sees padding, so that every token sees something.
    """
    if batch.segment is None:
        raise ValueError("block_mask wants a packed batch")
    segment = batch.segment.to(device)
    allowed = segment[:, :, None] == segment[:, None, :]
    if is_causal:
        allowed = allowed.tril()
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
