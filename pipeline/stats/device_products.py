"""Co-moments on a GPU: the products of ``CrossMoments`` by torch, added in float64 there too.

float32 is the default and as exact as on the processor. What tensor cores can do faster is chosen by name: ``bf16x3``
takes each value as the sum of two bfloat16 numbers and leaves out the product of the two small ones; ``tf32`` rounds
values to eleven bits. For centred rows the error of a correlation is at most 2⁻¹⁵ and 2⁻¹⁰ of the mean product |a| |b|.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.stats.cross_moments import Centred, CrossMoments
from schemas.errors import ConfigError

Arithmetic = Literal["float32", "bf16x3", "tf32"]


def require_device(device: str) -> None:
    """Raise :class:`ConfigError` where this machine has no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: there is no CUDA device here; leave it out, or give cpu")


class DeviceProducts:
    """Feeds a state whose co-moments stay in a device's memory until :meth:`finish`."""

    def __init__(self, state: CrossMoments, device: str = "cuda", arithmetic: Arithmetic = "float32") -> None:
        """Raises :class:`ConfigError` without the device, for float64 states and for another arithmetic."""
        require_device(device)
        if arithmetic not in get_args(Arithmetic) or (state.precision == "float64" and arithmetic != "float32"):
            raise ConfigError(
                f"arithmetic must be one of {', '.join(get_args(Arithmetic))}, float32 with float64 states; "
                f"got {arithmetic!r} with {state.precision}"
            )
        self.state, self.device, self.arithmetic = state, torch.device(device), arithmetic
        self._total = torch.from_numpy(state.comoment).to(self.device, copy=True)

    def add_centred(self, a: Centred, b: Centred) -> None:
        """Add a batch of rows that :func:`~pipeline.stats.cross_moments.centred` has centred."""
        step = self.state.advance(a, b)
        here = self._put(a.values)
        self._total += self._product(here, here if b is a else self._put(b.values)).double()
        self._total.addr_(self._put(step.shift_a), self._put(step.shift_b))
        self._total.addr_(self._put(step.rest_a), self._put(step.rest_b), alpha=-1)

    def finish(self) -> CrossMoments:
        """The state with its co-moments."""
        self.state.comoment[:] = self._total.cpu().numpy()
        return self.state

    def _put(self, values: NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(n, m) of (n, T) and (m, T)."""
        if self.arithmetic == "bf16x3":
            (high_a, low_a), (high_b, low_b) = _halves(a), _halves(b)
            return _multiply(low_a, high_b) + _multiply(high_a, low_b) + _multiply(high_a, high_b)
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.arithmetic == "tf32"
        try:
            return a @ b.T
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before


def _halves(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bfloat16 ``high`` and ``low`` with high + low ≈ values: 16 bits of them."""
    high = values.bfloat16()
    return high, (values - high.float()).bfloat16()


def _multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product of bfloat16 matrices with float32 sums and result."""
    if a.device.type == "cuda":
        return torch.mm(a, b.T, out_dtype=torch.float32)
    return a.float() @ b.float().T
