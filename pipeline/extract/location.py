"""Where a model lies on this machine, and which files hold its weights."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from schemas.config import ModelConfig
from schemas.errors import ModelError
from schemas.locations import resolve_location

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")


def find_model(config: ModelConfig) -> tuple[Path, str | None]:
    """Folder of a model and, for a hub id, the revision it was resolved to.

    ``name`` is ``package:NAME/PATH``, a folder, or a hub id, tried in that order; a hub id is downloaded (weights
    only as safetensors). Raises :class:`ModelError` when there is no such folder or the hub cannot give it.
    """
    path = Path(resolve_location(config.name)).expanduser()
    if path.is_dir():
        return path, config.revision
    if path.exists():
        raise ModelError(
            f"model {config.name!r} is a file; give the folder it lies in (and `model.gguf_file` for a GGUF file)"
        )
    if not _HUB_ID.fullmatch(config.name) or config.name.startswith("."):
        raise ModelError(
            f"model {config.name!r}: no such folder; give a folder with config.json, a hub id or package:NAME/PATH"
        )
    patterns = [
        *_HUB_FILES,
        *(["*.py"] if config.trust_remote_code else []),
        *([config.gguf_file] if config.gguf_file else []),
    ]
    if config.gguf_file:
        patterns.remove("*.safetensors")
    try:
        folder = huggingface_hub.snapshot_download(
            config.name, revision=config.revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise ModelError(
            f"model {config.name!r}: no such folder here, and the hub did not give it "
            f"({type(error).__name__}: {error}); give a local folder, "
            "or check the name, `model.revision` and the network"
        ) from error
    return Path(folder), Path(folder).name


def weight_files(folder: Path, gguf_file: str | None = None) -> list[Path]:
    """Files that hold the weights: the GGUF file, ``model.safetensors``, or the shards its index names, sorted.

    Raises :class:`ModelError` when there are none, a shard is missing, or they are pickles (which run code when
    loaded).
    """
    if gguf_file is not None:
        path = folder / gguf_file
        if not path.is_file():
            raise ModelError(f"model.gguf_file {gguf_file!r} is not in {folder.name}; name one of its files")
        return [path]
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return _indexed_files(folder, index)
    pickles = [name for name in _PICKLES if (folder / name).is_file()]
    if pickles:
        raise ModelError(
            f"model folder {folder}: weights only as {pickles[0]}, a pickle, "
            "which is never loaded; convert to safetensors"
        )
    raise ModelError(f"model folder {folder} has no weights; it needs model.safetensors (or `model.gguf_file`)")


def _indexed_files(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index}: not an index of safetensors files ({error}); download the model again") from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise ModelError(
            f"model folder {folder}: weight file {missing[0] if missing else '(none)'} of the index is missing; "
            "download it again"
        )
    return [folder / name for name in names]


def weights_sha256(files: list[Path]) -> str:
    """SHA-256 of one weight file; of several, the SHA-256 over their ``<sha256>  <name>`` lines sorted by name."""
    sums = [(path.name, file_sha256(path)) for path in files]
    if len(sums) == 1:
        return sums[0][1]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(sums)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; computed once for each size and time of change."""
    return _file_sha256(path, path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _file_sha256(path: Path, n_bytes: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time are the cache's key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
