"""The batches of a shard, and what the model is given of each."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.extract.batch import Batch, make_batch, make_packed_batch
from pipeline.extract.model import LoadedModel
from pipeline.extract.packing import block_mask, line_length, pack_lines
from pipeline.extract.sequences import Sequences, make_batches, members_with_rows


def batches_of(sequences: Sequences, token_budget: int, pad_token_id: int, *, packing: bool) -> list[Batch]:
    """Batches of at most ``token_budget`` tokens, or one sequence, that hold every sequence with a row once.

    Sequences of similar length stand together, the longest first. With ``packing``, those that fit a line stand side by
    side in lines; where each has a line to itself, the batch is an ordinary one.
    """
    used = members_with_rows(sequences)
    fits = sequences.lengths[used] <= (line_length(token_budget) if packing else 0)
    long, short = used[~fits], used[fits]
    chosen = make_batches(sequences.lengths[long], token_budget)
    batches = [make_batch(sequences, long[members], pad_token_id) for members in chosen]
    for packed in pack_lines(sequences.lengths[short], token_budget):
        lines = [short[line].tolist() for line in packed]
        if all(len(line) == 1 for line in lines):
            batches.append(make_batch(sequences, np.array([line[0] for line in lines]), pad_token_id))
        else:
            batches.append(make_packed_batch(sequences, lines, pad_token_id))
    return batches


def model_inputs(loaded: LoadedModel, batch: Batch) -> dict[str, torch.Tensor]:
    """``input_ids``, ``attention_mask`` and, of a packed batch, ``position_ids``, on the model's device."""
    device = loaded.device
    inputs = {"input_ids": batch.input_ids.to(device, non_blocking=True)}
    if batch.position is None:
        return {**inputs, "attention_mask": batch.attention_mask.to(device, non_blocking=True)}
    dtype = next(loaded.module.parameters()).dtype
    mask = block_mask(batch, is_causal=not loaded.info.is_bidirectional, dtype=dtype, device=device)
    return {**inputs, "attention_mask": mask, "position_ids": batch.position.to(device) + loaded.info.first_position}
