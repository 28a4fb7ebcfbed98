"""Linear algebra on one thread: products and LAPACK give other last bits on other numbers of threads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401 - its own BLAS has to be loaded before the libraries are looked for
from threadpoolctl import ThreadpoolController


def on_one_thread() -> AbstractContextManager[Any]:
    """A context in which the matrix routines of numpy and scipy use one thread."""
    found: AbstractContextManager[Any] = _blas().limit(limits=1)
    return found


@cache
def _blas() -> ThreadpoolController:
    """Finding the libraries takes milliseconds, so it is done once."""
    return ThreadpoolController().select(user_api="blas")
