"""Packed batches: the same rows as unpacked ones, for every architecture that says it takes them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save_model

from pipeline.extract.batch import make_packed_batch
from pipeline.extract.batching import batches_of
from pipeline.extract.extractor import Extractor
from pipeline.extract.model import load_model
from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.packing import LINE_LENGTH, block_mask, line_length, pack_lines
from pipeline.extract.sequences import Sequences
from schemas.config import ModelConfig

TARGETS = [("resid", 0), ("resid", 2), ("mlp", 1), ("head", 2), ("key", 1)]


def _sequences(seed: int = 0, n: int = 40) -> Sequences:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(4, 60, offsets[-1]).astype(np.int32)
    return Sequences(ids, offsets, np.arange(offsets[-1]), int(offsets[-1]))


@given(st.lists(st.integers(1, 128), max_size=60), st.integers(1, 2000))
def test_every_sequence_is_in_one_line_with_room_for_it(lengths: list[int], budget: int) -> None:
    lengths = [min(length, line_length(budget)) for length in lengths]
    batches = pack_lines(np.array(lengths, dtype=np.int64), budget)
    assert sorted(w for lines in batches for line in lines for w in line) == list(range(len(lengths)))
    for lines in batches:
        sums = [sum(lengths[w] for w in line) for line in lines]
        assert len(lines) * max(sums) <= budget
        assert max(sums) <= LINE_LENGTH


def test_lines_are_well_filled() -> None:
    lengths = _sequences(n=500).lengths
    batches = pack_lines(lengths, 2048)
    n_padded = sum(len(lines) * max(int(lengths[line].sum()) for line in lines) for lines in batches)
    assert lengths.sum() / n_padded > 0.97


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_mask_keeps_sequences_apart(is_causal: bool) -> None:
    sequences = Sequences(np.arange(6, dtype=np.int32), np.array([0, 2, 5, 6]), np.arange(6), 6)
    batch = make_packed_batch(sequences, [[0, 1], [2]], 0)
    assert batch.segment is not None
    assert batch.position is not None
    assert batch.segment.tolist() == [[0, 0, 1, 1, 1], [0, -1, -1, -1, -1]]
    assert batch.position.tolist()[0] == [0, 1, 0, 1, 2]
    mask = block_mask(batch, is_causal=is_causal, dtype=torch.float32, device=torch.device("cpu"))
    assert mask.shape == (2, 1, 5, 5)
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen == (
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]
        if is_causal
        else [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    )
    assert (mask == 0).any(dim=-1).all()


@pytest.mark.parametrize("architecture", ModelInfo.packable_architectures())
def test_packed_rows_agree_with_rows_of_single_sequences(tmp_path: Path, architecture: str) -> None:
    loaded = load_model(save_model(tmp_path, architecture), threads=1)
    assert loaded.info.is_packable
    sequences = _sequences()
    expected = Extractor(loaded, TARGETS, "float32", 1).extract(sequences)
    found = Extractor(loaded, TARGETS, "float32", 512, packing=True).extract(sequences)
    for target in TARGETS:
        np.testing.assert_allclose(found[target], expected[target], rtol=1e-3, atol=1e-4)


def test_eager_attention_takes_packed_batches_too(tmp_path: Path) -> None:
    loaded = load_model(save_model(tmp_path, "bert"), threads=1)
    sequences = _sequences()
    expected = Extractor(loaded, TARGETS, "float32", 1).extract(sequences)
    loaded.module.set_attn_implementation("eager")
    found = Extractor(loaded, TARGETS, "float32", 512, packing=True).extract(sequences)
    np.testing.assert_allclose(found["resid", 2], expected["resid", 2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("architecture", "turn"), [("bert", {"is_decoder": True}), ("llama", {"is_causal": False})])
def test_a_model_whose_attention_is_turned_round_is_packed_that_way(
    tmp_path: Path, architecture: str, turn: dict[str, bool]
) -> None:
    usual = load_model(save_model(tmp_path, architecture), threads=1)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | turn))
    turned = load_model(ModelConfig(name=str(tmp_path), device="cpu"), threads=1)
    assert turned.info.is_bidirectional != usual.info.is_bidirectional
    sequences = _sequences()
    expected = Extractor(turned, TARGETS, "float32", 1).extract(sequences)
    found = Extractor(turned, TARGETS, "float32", 512, packing=True).extract(sequences)
    other = Extractor(usual, TARGETS, "float32", 1).extract(sequences)
    for target in TARGETS:
        np.testing.assert_allclose(found[target], expected[target], rtol=1e-3, atol=1e-4)
    assert not np.allclose(other["resid", 2], expected["resid", 2], atol=1e-2)


def test_long_sequences_and_lines_of_one_are_not_packed() -> None:
    lengths = np.array([200, 130, 128, 100, 90, 60, 20])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sequences = Sequences(np.zeros(offsets[-1], np.int32), offsets, np.arange(offsets[-1]), int(offsets[-1]))
    batches = batches_of(sequences, 256, 0, packing=True)
    shapes = [(tuple(batch.input_ids.shape), batch.segment is not None) for batch in batches]
    assert shapes == [((1, 200), False), ((1, 130), False), ((2, 128), True), ((2, 90), False)]
    rows = np.concatenate([batch.row for batch in batches])
    assert sorted(rows.tolist()) == list(range(sequences.n_rows))


@given(st.lists(st.integers(1, 200), max_size=40), st.integers(1, 600), st.booleans())
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int, packing: bool) -> None:
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))])
    n_tokens = int(offsets[-1])
    sequences = Sequences(np.zeros(n_tokens, np.int32), offsets, np.arange(n_tokens), n_tokens)
    batches = batches_of(sequences, budget, 0, packing=packing)
    assert sorted(row for batch in batches for row in batch.row.tolist()) == list(range(n_tokens))
    for batch in batches:
        assert batch.input_ids.numel() <= budget or len(batch.input_ids) == 1


def test_bfloat16_models_take_packed_batches(tmp_path: Path) -> None:
    config = save_model(tmp_path, "llama").model_copy(update={"compute_dtype": "bfloat16"})
    loaded = load_model(config, threads=1)
    sequences = _sequences()
    expected = Extractor(loaded, [("resid", 1)], "float32", 1).extract(sequences)["resid", 1]
    found = Extractor(loaded, [("resid", 1)], "float32", 512, packing=True).extract(sequences)["resid", 1]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_windowed_attention_and_unknown_architectures_are_not_packable(tmp_path: Path) -> None:
    info = load_model(save_model(tmp_path, "llama")).info
    assert not dataclasses.replace(info, has_window=True).is_packable
    assert not load_model(save_model(tmp_path / "gemma3", "gemma3_text")).info.is_packable
    assert not dataclasses.replace(info, architecture="bloom").is_packable
