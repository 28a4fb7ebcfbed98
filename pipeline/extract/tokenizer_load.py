"""Load a fast tokenizer, and learn by experiment what it puts around and between words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.model_info import LOADING_ERRORS, first_line, quiet_transformers
from schemas.config import ModelConfig
from schemas.errors import ModelError

#: What tokenizers keep their vocabulary in, besides the files that a tokenizer's class names.
_VOCABULARY_FILES = ("tokenizer.json", "tokenizer.*.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
_PROBES = ("a", "the cat", "The 3 cats sat.")


@dataclass(frozen=True)
class FastTokenizer:
    """A tokenizer without truncation or padding, and the ids it puts before and after a sequence."""

    backend: Tokenizer
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


def load_tokenizer(config: ModelConfig, info: ModelInfo) -> FastTokenizer:
    """Tokenizer of a model.

    Truncation and padding that tokenizer.json may carry are switched off. Raises :class:`ModelError` where there is
    none (transformers makes up one without a vocabulary), it is only a slow one (no character offsets), it knows no
    token of a plain English sentence, or its special tokens depend on the text.
    """
    extra: dict[str, Any] = {"gguf_file": config.gguf_file} if config.gguf_file else {}
    try:
        with quiet_transformers():
            wrapper = AutoTokenizer.from_pretrained(
                info.path, trust_remote_code=config.trust_remote_code, use_fast=True, **extra
            )
    except LOADING_ERRORS as error:
        raise ModelError(
            f"model {config.name!r}: no usable tokenizer ({first_line(error)}); the folder needs tokenizer.json"
        ) from error
    if not getattr(wrapper, "is_fast", False):
        raise ModelError(
            f"model {config.name!r}: only a slow tokenizer ({type(wrapper).__name__}), which has no character offsets; "
            "the folder needs tokenizer.json (save_pretrained of a fast tokenizer writes it)"
        )
    if config.gguf_file is None:
        _check_files(Path(info.path), wrapper)
    backend = Tokenizer.from_str(wrapper.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    _check_vocabulary(backend, wrapper, config.name)
    prefix, suffix = _special_ids(backend, config.name)
    return FastTokenizer(backend, prefix, suffix)


def _check_files(folder: Path, wrapper: Any) -> None:
    """Raise unless ``folder`` has a vocabulary: without one, transformers gives a tokenizer of special tokens only."""
    names = {str(name) for name in wrapper.vocab_files_names.values()} - {"tokenizer_config.json"}
    patterns = {*_VOCABULARY_FILES, *names}
    if not any(found.is_file() for pattern in patterns for found in folder.glob(pattern)):
        raise ModelError(
            f"model folder {folder} has no tokenizer files (none of {', '.join(sorted(names | {'tokenizer.json'}))}), "
            "so every token would be unknown; copy the model's tokenizer.json into it (save_pretrained of its "
            "tokenizer writes it)"
        )


def _check_vocabulary(backend: Tokenizer, wrapper: Any, name: str) -> None:
    """Raise unless the probes have tokens, and not only unknown ones."""
    if not any(backend.encode(probe, add_special_tokens=False).ids for probe in _PROBES):
        raise ModelError(
            f"model {name!r}: its tokenizer gives no tokens for {_PROBES[-1]!r}; the folder needs tokenizer.json"
        )
    unknown = {getattr(backend.model, "unk_token", None), wrapper.unk_token} - {None}
    tokens = set(backend.encode(_PROBES[-1], add_special_tokens=False).tokens)
    if tokens and tokens <= unknown:
        raise ModelError(
            f"model {name!r}: its tokenizer knows no token of {_PROBES[-1]!r}, all come out as {tokens.pop()!r}; its "
            "vocabulary is empty or another model's: copy the model's own tokenizer.json into the folder"
        )


def _special_ids(backend: Tokenizer, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids added before and after, learned from the first probe and verified on all."""
    found: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for probe in _PROBES:
        body = backend.encode(probe, add_special_tokens=False).ids
        encoding = backend.encode(probe, add_special_tokens=True)
        ids, added = encoding.ids, encoding.special_tokens_mask
        n_prefix = next((i for i, is_added in enumerate(added) if not is_added), len(ids))
        n_suffix = len(ids) - n_prefix - len(body)
        if n_suffix < 0 or ids[n_prefix : n_prefix + len(body)] != body:
            raise ModelError(
                f"model {name!r}: its tokenizer's special tokens are not a fixed prefix and suffix "
                f"(probe {probe!r}); use another model"
            )
        found.add((tuple(ids[:n_prefix]), tuple(ids[n_prefix + len(body) :])))
    if len(found) != 1:
        raise ModelError(
            f"model {name!r}: its tokenizer adds different special tokens to different texts; use another model"
        )
    return found.pop()


def space_before_words(backend: Tokenizer, name: str) -> str:
    """What pre-split words need in front, from the second on, to be encoded as in running text: nothing, or a space.

    Byte-level tokenizers glue words together without it. Learned on probes; raises :class:`ModelError` where neither
    fits.
    """
    for space in ("", " "):
        if all(
            backend.encode(_spaced(probe.split(), space), is_pretokenized=True, add_special_tokens=False).ids
            == backend.encode(probe, add_special_tokens=False).ids
            for probe in ("the cat", "a b c")
        ):
            return space
    raise ModelError(
        f"dump.encode 'words': the tokenizer of {name!r} encodes pre-split words unlike running text; use encode: text"
    )


def _spaced(words: list[str], space: str) -> list[str]:
    return [words[0], *(space + word for word in words[1:])]
