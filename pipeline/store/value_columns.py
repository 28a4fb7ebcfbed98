"""Activation values as Arrow columns: 16-bit floats travel as their bits, since numpy has no bfloat16.

``float16`` is a FLOAT16 column, ``bfloat16`` a FLOAT column whose lower two bytes are zeros, ``float32`` FLOAT too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.config import ValueDtype

#: ``uint16`` bits of ``float16`` and ``bfloat16``, or ``float32``.
Values = npt.NDArray[np.uint16] | npt.NDArray[np.float32]


def numpy_dtype(dtype: ValueDtype) -> type[np.uint16 | np.float32]:
    """Numpy type in which values of ``dtype`` are held."""
    return np.float32 if dtype == "float32" else np.uint16


def value_array(values: npt.NDArray[Any], dtype: ValueDtype) -> Any:
    """Arrow array of (T,) contiguous ``values``: bits, or float32. bfloat16 may also be given as float32 already."""
    if dtype == "bfloat16" and values.dtype == np.uint16:
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    kind: Any = pa.float16() if dtype == "float16" else pa.float32()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def copy_values(column: Any, dtype: ValueDtype, into: npt.NDArray[Any]) -> None:
    """Copy a chunked Arrow column into (T,) ``into`` of :func:`numpy_dtype`.

    A FLOAT column of ``float16`` values (those of a dump in `int8`) is converted, which is exact.
    """
    position = 0
    for chunk in column.chunks:
        stored = chunk.to_numpy(zero_copy_only=True)
        part = into[position : position + len(stored)]
        if dtype == "bfloat16":
            part[:] = stored.view("<u2")[1::2]
        elif dtype == "float16" and stored.dtype == np.float32:
            part[:] = stored.astype(np.float16).view(np.uint16)
        else:
            part[:] = stored.view(into.dtype)
        position += len(stored)
