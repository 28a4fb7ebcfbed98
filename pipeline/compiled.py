"""How every numeric kernel is compiled, and where its machine code is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])

_PACKAGE = Path(__file__).parent


def kernel(function: Function) -> Function:
    """Compile ``function`` with numba: strict IEEE arithmetic, without the interpreter lock, cached on disk.

    In a folder of the version of all kernels (:func:`fingerprint`): numba looks at the outermost function's file alone,
    and would go on using code into which an older version of another file's kernel is compiled.
    """
    folder, before = _cache_folder(), numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder or "")
    try:
        compiled = numba.njit(cache=folder is not None, nogil=True)(function)
    except RuntimeError:  # a function without a file has no place in a cache
        compiled = numba.njit(nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before
    return cast("Function", compiled)


def fingerprint(package: Path) -> str:
    """Of the content of all modules below ``package`` that define kernels."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = file.read_bytes()
        if b"@kernel" in content:
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


@cache
def _cache_folder() -> Path | None:
    """Below ``NUMBA_CACHE_DIR``, the package or the user's cache, whichever can be written; None: always compile."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    parents = (
        [numba.config.CACHE_DIR] if numba.config.CACHE_DIR else [_PACKAGE / "__pycache__", Path(home, "neuronmill")]
    )
    for parent in map(Path, parents):
        folder = parent / f"kernels-{fingerprint(_PACKAGE)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # read-only, as in many containers
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None
