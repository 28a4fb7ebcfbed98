"""Plain arrays on disk: ``.npz`` files, written and read without pickle; the same arrays give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.store.store import Store


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write the arrays by name."""
    np.savez(path, allow_pickle=False, **dict[str, Any](arrays))


def open_arrays(store: Store, path: str) -> np.lib.npyio.NpzFile:
    """A file of the store; each array is read when it is asked for."""
    opened: np.lib.npyio.NpzFile = np.load(io.BytesIO(store.storage.read(path)), allow_pickle=False)
    return opened
