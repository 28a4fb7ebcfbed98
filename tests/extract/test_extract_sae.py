"""Latents of sparse autoencoders against numpy, and the files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pipeline.extract.sae import describe_sae, load_sae
from schemas.components import SaeConfig
from schemas.errors import ModelError

D, F = 6, 10
CPU = torch.device("cpu")


def _tensors() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"W_enc": (D, F), "b_enc": (F,), "b_dec": (D,), "threshold": (F,), "W_dec": (F, D)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _config(folder: Path, tensors: dict[str, Any], **settings: Any) -> SaeConfig:
    save_file(tensors, folder / "sae.safetensors")
    return SaeConfig(name="x", path=str(folder / "sae.safetensors"), layer=1, **settings)


def _expected(t: dict[str, Any], x: Any, activation: str, k: int | None) -> Any:
    z = (x.astype(np.float64) - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    if activation == "identity":
        return z
    if activation == "jumprelu":
        return np.where(z > t["threshold"], z, 0)
    z = np.maximum(z, 0)
    if k is not None:
        for row in z:
            row[np.argsort(-row)[k:]] = 0
    return z


@pytest.mark.parametrize(("activation", "k"), [("relu", None), ("identity", None), ("jumprelu", None), ("topk", 3)])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_latents(tmp_path: Path, activation: str, k: int | None, is_transposed: bool) -> None:
    tensors = _tensors()
    stored = tensors | ({"W_enc": np.ascontiguousarray(tensors["W_enc"].T)} if is_transposed else {})
    config = _config(tmp_path, stored, activation=activation, k=k)
    facts = describe_sae(config, D)
    assert facts.width == F
    x = np.random.default_rng(1).normal(size=(50, D)).astype(np.float32)
    found = load_sae(config, facts, CPU).latents(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, _expected(tensors, x, activation, k), rtol=1e-5, atol=1e-5)
    if k is not None:
        assert ((found != 0).sum(axis=1) <= k).all()


def test_names_a_missing_b_dec_and_one_that_is_not_wanted(tmp_path: Path) -> None:
    tensors = _tensors()
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    plain = {"encoder.weight": tensors["W_enc"].T.copy(), "encoder.bias": tensors["b_enc"]}
    names = {"w_enc": "encoder.weight", "b_enc": "encoder.bias"}
    config = _config(tmp_path, plain, activation="identity", **names)
    without = load_sae(config, describe_sae(config, D), CPU).latents(x)
    config = _config(
        tmp_path, plain | {"b_dec": tensors["b_dec"]}, activation="identity", subtract_b_dec=False, **names
    )
    assert torch.equal(load_sae(config, describe_sae(config, D), CPU).latents(x), without)


def test_bfloat16_activations_are_encoded_in_float32(tmp_path: Path) -> None:
    config = _config(tmp_path, _tensors(), activation="identity")
    sae = load_sae(config, describe_sae(config, D), CPU)
    x = torch.randn(5, D).to(torch.bfloat16)
    assert sae.latents(x).dtype == torch.float32
    assert torch.equal(sae.latents(x), sae.latents(x.float()))


def test_many_tokens_are_encoded_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(tmp_path, _tensors())
    sae = load_sae(config, describe_sae(config, D), CPU)
    x = torch.randn(23, D)
    whole = sae.latents(x)
    monkeypatch.setattr("pipeline.extract.sae._CHUNK_VALUES", 4 * F)
    torch.testing.assert_close(sae.latents(x), whole)


@pytest.mark.parametrize(
    ("change", "settings", "d", "message"),
    [
        ({}, {}, D + 1, r"W_enc of sae.safetensors has shape \(6, 10\), where resid has 7 neurons; expected \(7, 10\)"),
        ({"b_enc": np.zeros(3, np.float32)}, {}, D, r"W_enc .* expected \(6, 3\) or \(3, 6\)"),
        ({"b_enc": np.zeros((1, F), np.float32)}, {}, D, "b_enc|W_enc"),
        ({"b_dec": np.zeros(3, np.float32)}, {}, D, r"b_dec .* shape \(3,\).* expected \(6,\)"),
        ({"threshold": np.zeros(3, np.float32)}, {"activation": "jumprelu"}, D, "threshold of"),
        ({}, {"w_enc": "encoder"}, D, "has no tensor 'encoder'; it has W_dec, W_enc, b_dec, b_enc, threshold"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, Any], settings: dict[str, Any], d: int, message: str
) -> None:
    with pytest.raises(ModelError, match=f"dump.saes: 'x'.*{message}"):
        describe_sae(_config(tmp_path, _tensors() | change, **settings), d)


def test_files_that_are_no_safetensors_or_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        describe_sae(SaeConfig(name="x", path=str(tmp_path / "absent"), layer=1), D)
    (tmp_path / "torn").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="no safetensors file that can be read"):
        describe_sae(SaeConfig(name="x", path=str(tmp_path / "torn"), layer=1), D)
    config = _config(tmp_path, _tensors())
    facts = describe_sae(config, D)
    _config(tmp_path, _tensors() | {"b_dec": np.ones(D, np.float32)})
    with pytest.raises(ModelError, match="has changed since the plan"):
        load_sae(config, facts, CPU)
