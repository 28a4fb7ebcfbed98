"""Files of one layer: several blocks, gaps between them, and rules that look at the whole layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.extract.rows_in_memory import Rows
from pipeline.run.activation_files import LayerFiles, layer_blocks, lost_share
from pipeline.run.plan_record import Capture
from pipeline.store.store import Store

PIECES = [range(3), range(3, 5), range(9, 13)]
ROWS = range(2**40, 2**40 + 6)


def capture(**settings: Any) -> Capture:
    fixed = {"components": ("mlp",), "layers": (1,), "widths": {"mlp": 13}, "unit": "token", "pooling": None}
    plain = {"dtype": "float16", "token_budget": 1, "threads": 1, "device": "cpu"}
    return Capture(**{**fixed, **plain, **settings})


@pytest.mark.parametrize(
    ("settings", "n_kept"),
    [
        ({}, None),
        ({"mode": "topk", "k": 4}, 4),
        ({"mode": "threshold", "threshold": 0.7}, None),
        ({"dtype": "int8"}, None),
    ],
)
def test_blocks_with_gaps(tmp_path, settings, n_kept):
    """The rule is applied to the layer, not to each block; neurons keep their numbers."""
    x = np.random.default_rng(0).standard_normal((len(ROWS), 9)).astype(np.float32)
    scales = np.full(9, 1 / 32, np.float32) if settings.get("dtype") == "int8" else None
    wanted = np.rint(x * 32) / 32 if scales is not None else x.astype(np.float16).astype(np.float64)
    if "k" in settings:
        order = np.argsort(-np.abs(wanted), axis=1, kind="stable")
        np.put_along_axis(wanted, order[:, 4:], 0, axis=1)
    if "threshold" in settings:
        wanted[np.abs(wanted) <= 0.7] = 0
    store = Store.create(str(tmp_path))
    with store.staging() as staging:
        files = LayerFiles(staging, "tiny", "mlp", 1, 0, ROWS, scales)
        values = x if scales is not None else x.astype(np.float16).view(np.uint16)
        places = np.random.default_rng(1).permutation(len(ROWS))
        rows = Rows(values[np.argsort(places)], places, torch.empty(0))
        files.write(rows, layer_blocks(PIECES), capture(**settings))
        entries = sorted(store.commit(staging, "dump", "shard-00000").files, key=lambda entry: entry.block)
    assert [(entry.block, entry.neurons, entry.n_rows) for entry in entries] == [
        (number, piece, len(ROWS)) for number, piece in enumerate(PIECES)
    ]
    reader = store.activation_reader()
    found = np.concatenate([reader.read_block(entry) for entry in entries]).view(np.float16).T
    np.testing.assert_array_equal(found.astype(np.float64), wanted)
    assert all(reader.row_ids(entry).tolist() == list(ROWS) for entry in entries)
    if n_kept is not None:
        assert sum(entry.n_values for entry in entries) == n_kept * len(ROWS)


def test_a_layer_of_zeros_loses_nothing():
    assert lost_share(np.zeros(3), np.zeros(3)) == 0.0
    assert lost_share(np.array([1.0, 0.0]), np.array([3.0, 1.0])) == 0.25
