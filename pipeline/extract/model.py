"""Load a model: safetensors or GGUF only, checked, in evaluation mode, on the device a worker was given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.model_info import (
    LOADING_ERRORS,
    describe_model,
    first_line,
    fresh_model,
    model_sites,
    quiet_transformers,
    read_settings,
)
from pipeline.extract.site import Site
from schemas.components import ModuleConfig
from schemas.config import ModelConfig
from schemas.errors import ModelError

__all__ = ["LoadedModel", "ModelInfo", "describe_model", "load_model"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for forward passes.

    ``module`` without a head, its ``info``, the ``device`` it is on, and the ``sites`` where its components are read.
    """

    module: nn.Module
    info: ModelInfo
    device: torch.device
    sites: tuple[Site, ...]


def load_model(
    config: ModelConfig,
    *,
    threads: int | None = None,
    n_layers_needed: int | None = None,
    info: ModelInfo | None = None,
    modules: Sequence[ModuleConfig] = (),
) -> LoadedModel:
    """Load the weights of ``config`` for inference.

    ``threads``: torch's compute threads in this process from now on. ``n_layers_needed``: highest layer that will be
    captured; more than the model has is an error. ``info``: what :func:`describe_model` said, to refuse weights that
    changed since. ``modules``: components that the config names by module. Raises :class:`ModelError`; besides the
    reasons of :func:`describe_model`: weights missing from the checkpoint, no GPU.
    """
    found = describe_model(config, modules)
    if info is not None and info.weights_sha256 != found.weights_sha256:
        raise ModelError(
            f"model {config.name!r}: its weights changed since the plan ({info.weights_sha256[:12]} then, "
            f"{found.weights_sha256[:12]} now); restore them, or plan into a new store"
        )
    if n_layers_needed is not None and not 0 <= n_layers_needed <= found.n_layers:
        raise ModelError(f"layer {n_layers_needed} is out of range: {found.alias} has layers 0 to {found.n_layers}")
    device = choose_device(config.device)
    if threads is not None:
        torch.set_num_threads(threads)
    module = _pretrained(config, found)
    if config.random_weights is not None:
        module = _reinitialised(module, config, found, config.random_weights)
    module.requires_grad_(requires_grad=False)
    module = module.to(device).eval()
    return LoadedModel(module, found, device, model_sites(module, found, modules))


def choose_device(name: str) -> torch.device:
    """Device for ``model.device``: ``auto`` is the first GPU this process sees, else the CPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device: 'cuda' asked for, but this process sees no GPU; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _without_gguf_bar(config: ModelConfig) -> AbstractContextManager[object]:
    """Swallow standard error while a GGUF file is read: its progress bar heeds none of transformers' settings."""
    return redirect_stderr(StringIO()) if config.gguf_file else nullcontext()


def _pretrained(config: ModelConfig, info: ModelInfo) -> nn.Module:
    source: dict[str, Any] = {"gguf_file": config.gguf_file} if config.gguf_file else {"use_safetensors": True}
    try:
        with quiet_transformers(), _without_gguf_bar(config):
            module, report = AutoModel.from_pretrained(
                info.path,
                dtype=_DTYPES[config.compute_dtype],
                trust_remote_code=config.trust_remote_code,
                output_loading_info=True,
                attn_implementation=info.attention,
                **source,
            )
    except LOADING_ERRORS as error:
        raise ModelError(
            f"model {config.name!r}: its weights cannot be loaded ({first_line(error)}); "
            "check or download the folder again"
        ) from error
    # a pooler is often left out of checkpoints and comes after the last block; anything else would be random numbers
    missing = sorted(key for key in report.get("missing_keys", ()) if "pooler" not in key)
    if missing:
        raise ModelError(
            f"model {config.name!r}: {len(missing)} weights are not in the checkpoint, first {missing[0]!r}; "
            "its config.json and weights do not belong together"
        )
    module.config.use_cache = False
    loaded: nn.Module = module
    return loaded


def _reinitialised(trained: nn.Module, config: ModelConfig, info: ModelInfo, seed: int) -> nn.Module:
    """Same architecture, freshly initialised from ``seed``; every parameter is verified to differ from ``trained``."""
    settings = read_settings(config, Path(info.path))
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = fresh_model(config, settings).to(_DTYPES[config.compute_dtype])
    fresh.config.use_cache = False  # type: ignore[union-attr]
    kept = unchanged_parameters(trained, fresh)
    if kept:
        raise ModelError(
            f"model.random_weights: {len(kept)} parameters kept their trained values, first {kept[0]!r}; not a control"
        )
    return fresh


def unchanged_parameters(trained: nn.Module, fresh: nn.Module) -> list[str]:
    """Names of parameters equal in both models and not constant (zero biases and unit scales say nothing)."""
    before = dict(trained.named_parameters())
    return [
        name
        for name, now in fresh.named_parameters()
        if name in before and now.numel() > 1 and torch.equal(before[name], now) and now.min() != now.max()
    ]
