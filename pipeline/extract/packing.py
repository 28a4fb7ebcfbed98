"""Packing: several sequences in one line of a batch, which a block-diagonal mask keeps apart.

Padding all but vanishes whatever the lengths are. What is paid for it: attention is computed over whole lines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.batch import Batch

#: Tokens of a line, unless a sequence of the batch is longer: room for several sentences, and short enough for
#: attention over the whole line to stay cheap beside the rest of a block.
LINE_LENGTH = 128


def pack_lines(lengths: npt.NDArray[np.int64], token_budget: int) -> list[list[list[int]]]:
    """Batches of lines of sequences: longest first, each into the first line with room (first fit decreasing).

    ``lengths``: int64[W]. A batch has at most ``token_budget`` tokens, padding included, or one line. Every sequence
    is in exactly one line.
    """
    order = np.argsort(-lengths, kind="stable").tolist()
    lines: list[list[int]] = []
    rooms: list[int] = []
    sizes: list[int] = []
    first_open = 0
    for w in order:
        need = int(lengths[w])
        at = next((i for i in range(first_open, len(lines)) if rooms[i] >= need), None)
        if at is None:
            at = len(lines)
            lines.append([])
            sizes.append(max(need, LINE_LENGTH))
            rooms.append(sizes[at])
        lines[at].append(w)
        rooms[at] -= need
        while first_open < len(lines) and rooms[first_open] == 0:
            first_open += 1
    batches, first = [], 0
    while first < len(lines):
        n_lines = max(1, token_budget // sizes[first])
        batches.append(lines[first : first + n_lines])
        first += n_lines
    return batches


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
