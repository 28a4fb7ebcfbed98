"""From paths to one source: files, folders and globs, each file read by what its name says it is."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from pipeline.exchange.neurox import NeuroxHdf5, NeuroxJson
from pipeline.exchange.npy import NpyFile, NpzArray
from pipeline.exchange.source import ActivationSource, Concatenated
from pipeline.exchange.sparse_latents import SparseLatents, is_sparse
from pipeline.exchange.tensor_file import TensorFile
from schemas.errors import ExchangeError

SUFFIXES = {
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".json": "neurox-json",
    ".jsonl": "neurox-json",
    ".hdf5": "neurox-hdf5",
    ".h5": "neurox-hdf5",
}


def find_files(paths: Sequence[str]) -> list[Path]:
    """The files of ``paths`` in their order; those of a folder or glob in natural order of their names.

    Raises :class:`ExchangeError` for a path that is not there and a folder or glob without a file.
    """
    files: list[Path] = []
    for text in paths:
        path = Path(text).expanduser()
        if path.is_file():
            files.append(path)
            continue
        if path.is_dir():
            found = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
        else:
            found = [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207 - absolute and relative patterns alike
            found = [file for file in found if file.is_file()]
        if not found:
            raise ExchangeError(
                f"{text}: there is no such file, and no folder or glob with activation files ({', '.join(SUFFIXES)}); "
                "check the path"
            )
        files += sorted(found, key=lambda file: _natural(str(file)))
    return files


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that compares runs of digits as numbers."""
    pieces: list[str] = [""]
    for character in name:
        if character.isdecimal() == pieces[-1][-1:].isdecimal():
            pieces[-1] += character
        else:
            pieces.append(character)
    return tuple((int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces)


def open_source(paths: Sequence[str], *, array: str | None = None, tensor: str | None = None) -> ActivationSource:
    """The activations in ``paths``: one source, several files one below the other.

    ``array`` names the array of `.npz` files, ``tensor`` the tensor of safetensors files. Raises
    :class:`ExchangeError` naming the file for anything that cannot be read as activations.
    """
    files = find_files(paths)
    if tensor is None and files[0].suffix.lower() == ".safetensors" and is_sparse(files[0]):
        return _open_latents(files)
    parts = [_open_file(file, array, tensor) for file in files]
    return parts[0] if len(parts) == 1 else Concatenated(parts)


def _open_latents(files: Sequence[Path]) -> ActivationSource:
    """A cache of sparse latents, whose files lie side by side."""
    for file in files:
        if file.suffix.lower() != ".safetensors" or not is_sparse(file):
            raise ExchangeError(
                f"{file}: has no `locations` and `activations`, and {files[0]} has; give the files of one cache"
            )
    return SparseLatents(files)


def _open_file(file: Path, array: str | None, tensor: str | None) -> ActivationSource:
    kind = SUFFIXES.get(file.suffix.lower())
    if kind == "npy":
        return NpyFile(file)
    if kind == "npz":
        return NpzArray(file, array)
    if kind == "safetensors":
        return TensorFile(file, tensor)
    if kind == "neurox-json":
        return NeuroxJson(file)
    if kind == "neurox-hdf5":
        return NeuroxHdf5(file)
    raise ExchangeError(f"{file}: activations are read from files named {', '.join(SUFFIXES)}; rename or convert it")
