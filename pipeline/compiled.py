"""How every numeric kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile ``function`` with numba: strict IEEE arithmetic, without the interpreter lock, cached on disk."""
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to cache in can be written, as in a read-only container: compile in every process
        compiled = numba.njit(nogil=True)(function)
    return cast("Function", compiled)
