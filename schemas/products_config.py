"""How products of activations are computed: shared by the sections whose results are made of co-moments."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from schemas.section import Section


class OfProducts(Section):
    """Base of the sections of analyses that multiply activations."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where activations are multiplied; the last digits depend on it."""
    arithmetic: Literal["float32", "bf16x3", "tf32"] = "float32"
    """On a GPU, of float32 products: as they are, or faster on tensor cores, with an error of a correlation of up to
    2⁻¹⁵ (`bf16x3`) or 2⁻¹⁰ (`tf32`)."""

    @model_validator(mode="after")
    def _tensor_cores_round(self) -> OfProducts:
        if self.arithmetic != "float32" and (self.device == "cpu" or getattr(self, "precision", None) == "float64"):
            raise ValueError(f"`arithmetic: {self.arithmetic}` goes with `device: cuda` and `precision: float32`")
        return self

    @property
    def place(self) -> tuple[Literal["cpu", "cuda"], Literal["float32", "bf16x3", "tf32"]]:
        """Device and arithmetic."""
        return self.device, self.arithmetic
