"""What is known of a model before its weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from pipeline.extract.architecture import find_sites, is_encoder_decoder
from pipeline.extract.capture import start_token
from pipeline.extract.location import find_model, weight_files, weights_sha256
from pipeline.extract.model_facts import BIDIRECTIONAL, ModelInfo
from pipeline.extract.named_modules import named_sites, site_widths
from pipeline.extract.site import Site
from schemas.components import ModuleConfig
from schemas.config import ModelConfig
from schemas.errors import ModelError

#: transformers writes 10^30 for a tokenizer without a limit.
_NO_LIMIT = 10**9

#: What transformers raises for a folder, config or checkpoint it cannot use.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
)


class _Quiet:
    """What transformers may say is one setting per process: the first to enter changes it, the last restores it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.n_inside = 0
        self.before = (0, False)

    def enter(self) -> None:
        with self.lock:
            if self.n_inside == 0:
                self.before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
                logging.set_verbosity_error()  # type: ignore[no-untyped-call]
                logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            self.n_inside += 1

    def leave(self) -> None:
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                verbosity, bars = self.before
                logging.set_verbosity(verbosity)
                if bars:
                    logging.enable_progress_bar()  # type: ignore[no-untyped-call]


_QUIET = _Quiet()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars or advice from transformers, in any thread; what matters is checked and raised here."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()


def describe_model(config: ModelConfig, modules: Sequence[ModuleConfig] = ()) -> ModelInfo:
    """Read a model's config and checksum its weight files; no weights are loaded.

    ``modules`` become components beside those of the architecture. The structure comes from the architecture built
    without storage (torch's meta device). Raises :class:`ModelError` for a missing or broken folder, pickled weights,
    an unsupported architecture, weights other than ``config.sha256``, or ``modules`` that are not one vector per token.
    """
    path, revision = find_model(config)
    files = weight_files(path, config.gguf_file)
    settings = read_settings(config, path)
    text = text_settings(settings)
    digest = weights_sha256(files)
    if config.sha256 is not None and digest != config.sha256:
        raise ModelError(
            f"model.sha256: the weights of {config.name!r} have {digest}, not {config.sha256}; "
            "get the right files or correct the key"
        )
    model = _build_without_storage(config, settings)
    sites = find_sites(model, settings.model_type, text.num_hidden_layers)
    widths = {site.component: site.width for site in sites if site.width is not None}
    layers_of = {name: tuple(n for s in sites if s.component == name for n in s.layers) for name in widths}
    if modules:
        named = named_sites(model, modules)
        widths |= site_widths(model, named)
        layers_of |= {site.component: site.layers for site in named}
    vocab_size = int(text.vocab_size)
    pad = getattr(text, "pad_token_id", None)
    return ModelInfo(
        alias=config.store_alias,
        name=config.name,
        architecture=settings.model_type,
        n_layers=max(layers_of["resid"]),
        widths=widths,
        max_length=_max_length(model, text, path),
        vocab_size=vocab_size,
        # any id does where a model has no pad token: the attention mask hides it
        pad_token_id=pad if isinstance(pad, int) and 0 <= pad < vocab_size else 0,
        weights_sha256=digest,
        revision=revision,
        path=str(path),
        layers_of=layers_of,
        start_token_id=start_token(model),
        has_window=_has_window(text),
        first_position=_first_position(model),
        attention=getattr(model.config, "_attn_implementation", None),
        is_turned=_is_turned(model, text),
    )


def read_settings(config: ModelConfig, path: Path) -> Any:
    """Config object (transformers) of the model at ``path``."""
    if config.gguf_file is None and not (path / "config.json").is_file():
        raise ModelError(f"model folder {path} has no config.json; give a folder as save_pretrained writes it")
    extra = {"gguf_file": config.gguf_file} if config.gguf_file else {}
    try:
        with quiet_transformers():
            settings = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code, **extra)
    except LOADING_ERRORS as error:
        raise ModelError(
            f"model {config.name!r}: its config cannot be read ({first_line(error)}); check the folder's config.json"
        ) from error
    return settings


def text_settings(settings: Any) -> Any:
    """The part of a model's settings that is about text: of a multimodal one its language model's."""
    return settings if getattr(settings, "is_encoder_decoder", False) else settings.get_text_config()


def model_sites(model: nn.Module, info: ModelInfo, modules: Sequence[ModuleConfig] = ()) -> tuple[Site, ...]:
    """Where the components of a loaded model are read."""
    return (*find_sites(model, info.architecture, info.n_layers), *named_sites(model, modules))


def _has_window(text: Any) -> bool:
    """Whether attention reaches a limited number of tokens back, in any layer."""
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    return bool(getattr(text, "sliding_window", None)) and getattr(text, "use_sliding_window", True)


def _is_turned(model: nn.Module, text: Any) -> bool:
    """Whether the config turns the architecture's attention round; that of an encoder–decoder stays as it is."""
    if is_encoder_decoder(model):
        return False
    if text.model_type in BIDIRECTIONAL:
        return bool(getattr(text, "is_decoder", False))
    return getattr(text, "is_causal", True) is False


def _build_without_storage(config: ModelConfig, settings: Any) -> nn.Module:
    try:
        with quiet_transformers(), torch.device("meta"):
            model = fresh_model(config, settings)
    except LOADING_ERRORS as error:
        raise ModelError(
            f"model {config.name!r}: architecture {settings.model_type!r} cannot be built ({first_line(error)}); "
            "is its config complete, and known to this version of transformers?"
        ) from error
    return model


def fresh_model(config: ModelConfig, settings: Any) -> nn.Module:
    """The architecture of ``settings`` with freshly initialised weights."""
    model: nn.Module = AutoModel.from_config(  # type: ignore[no-untyped-call]
        settings, trust_remote_code=config.trust_remote_code
    )
    return model


def _max_length(model: nn.Module, text: Any, path: Path) -> int | None:
    n_positions = getattr(text, "max_position_embeddings", None)
    if isinstance(n_positions, int) and is_encoder_decoder(model):
        n_positions -= 1  # a teacher-forced decoder reads the start token first; one limit, so that halves share rows
    limits = [n_positions, _tokenizer_limit(path)]
    if (positions := _positions_after_padding(model)) is not None:
        limits.append(positions.num_embeddings - _first_position(model))
    return min((limit for limit in limits if isinstance(limit, int) and 0 < limit < _NO_LIMIT), default=None)


def _positions_after_padding(model: nn.Module) -> nn.Embedding | None:
    """Position embeddings of which one belongs to padding (RoBERTa, MPNet): positions are counted from the next on."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module
    return None


def _first_position(model: nn.Module) -> int:
    positions = _positions_after_padding(model)
    return 0 if positions is None or positions.padding_idx is None else positions.padding_idx + 1


def _tokenizer_limit(path: Path) -> int | None:
    try:
        limit = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return None
    return limit if isinstance(limit, int) else None


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
