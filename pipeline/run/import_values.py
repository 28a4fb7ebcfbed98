"""Foreign values on their way into the store: checked as a whole before anything is written, rounded block by block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.exchange.source import ActivationSource, Array
from pipeline.exchange.sparse_latents import SparseLatents
from pipeline.run.progress import Progress
from pipeline.stats.codes import bits_to_float32
from pipeline.store.value_columns import Values
from schemas.config import ValueDtype
from schemas.errors import ExchangeError

_CHUNK_BYTES = 32 << 20
#: Exponent bits of the 16-bit dtypes, all set: infinity or NaN.
_EXPONENTS = {"float16": 0x7C00, "bfloat16": 0x7F80}
#: Largest values between which float16 keeps about three digits of what matters.
_HALF_RANGE = (2.0**-10, 65504.0)


def to_stored(values: Array, dtype: ValueDtype, source_dtype: str) -> Values:
    """Values of a source in the stored dtype: raw bits (uint16) of 16-bit floats, or float32; ties to even.

    What cannot be stored comes out as infinity or NaN; :func:`check_values` has refused it before.
    """
    if source_dtype == dtype:
        native = np.ascontiguousarray(values, np.dtype(values.dtype).newbyteorder("="))
        return native if dtype == "float32" else native.view(np.uint16)
    wide = bits_to_float32(np.ascontiguousarray(values), "bfloat16") if source_dtype == "bfloat16" else values
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "float16":
            return np.ascontiguousarray(wide.astype(np.float16)).view(np.uint16)
        single = np.ascontiguousarray(wide, np.float32)
    if dtype == "float32":
        return single
    bits = single.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16).astype(np.uint16)
    # rounding up the bits of a NaN could carry into the sign
    return np.where(np.isnan(single), np.uint16(0x7FC0), rounded)


def _is_finite(stored: Values, dtype: ValueDtype) -> npt.NDArray[np.bool_]:
    if dtype == "float32":
        finite: npt.NDArray[np.bool_] = np.isfinite(stored)
    else:
        exponent = np.uint16(_EXPONENTS[dtype])
        finite = (stored.view(np.uint16) & exponent) != exponent
    return finite


def check_values(source: ActivationSource, dtype: ValueDtype, progress: Progress) -> None:
    """Read everything once; raises :class:`ExchangeError` naming file, row and neuron of a value that has no place."""
    n_layers = max(1, len(source.layers))
    step = max(1, _CHUNK_BYTES // (8 * source.n_neurons * n_layers))
    progress.start("check", source.n_rows, "rows")
    largest = 0.0
    for start in range(0, source.n_rows, step):
        stop = min(start + step, source.n_rows)
        for index, values in enumerate(_arrays(source, start, stop)):
            stored = to_stored(values, dtype, source.dtype)
            if not _is_finite(stored, dtype).all():
                found = source.read(start, stop)[index]
                raise _not_storable(source, index, start, found, dtype)
            floats = stored if dtype == "float32" else bits_to_float32(stored.view(np.uint16), dtype)
            largest = max(largest, float(np.abs(floats).max(initial=0)))
        progress.advance(stop - start)
    progress.finish(f"all values are finite, at most {largest:g} in magnitude")


def _arrays(source: ActivationSource, start: int, stop: int) -> list[Array]:
    """The values of some rows, without the zeros that a sparse file leaves out."""
    return [source.triples(start, stop)[2]] if isinstance(source, SparseLatents) else source.read(start, stop)


def _not_storable(source: ActivationSource, index: int, start: int, values: Array, dtype: ValueDtype) -> ExchangeError:
    finite = _is_finite(to_stored(values, dtype, source.dtype), dtype)
    row, neuron = (int(at) for at in np.argwhere(~finite)[0])
    found = values[row : row + 1, neuron]
    value = float(bits_to_float32(found, "bfloat16")[0] if source.dtype == "bfloat16" else found[0])
    layer = f", layer {source.layers[index]}" if source.layers else ""
    where = f"{source.place(start + row)}{layer}, neuron {neuron} (from 0)"
    if not np.isfinite(value):
        return ExchangeError(f"{where}: {value} is never stored; replace or drop such rows. Nothing was changed")
    return ExchangeError(
        f"{where}: the value {value:g} overflows {dtype}; give --dtype "
        f"{'float32' if dtype == 'bfloat16' else 'bfloat16 or float32'}. Nothing was changed"
    )
