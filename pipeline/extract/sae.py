"""Sparse autoencoders: their latents, from an encoder in a safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from pipeline.extract.location import file_sha256
from schemas.components import SaeConfig
from schemas.errors import ModelError
from schemas.locations import resolve_location

#: Values of latents computed at once: 64 MB, whatever the autoencoder's width.
_CHUNK_VALUES = 2**24


@dataclass(frozen=True)
class SaeFacts:
    """What a plan records: ``width`` latents, the file's absolute ``path`` and SHA-256."""

    width: int
    path: str
    sha256: str


@dataclass(frozen=True)
class Sae:
    """The encoder of one autoencoder in float32 on one device; ``source`` and ``target`` are (component, layer).

    ``w_enc`` (d, f), ``b_enc`` (f,), ``b_dec`` (d,) or None, ``threshold`` (f,) or None.
    """

    source: tuple[str, int]
    target: tuple[str, int]
    activation: str
    k: int | None
    w_enc: torch.Tensor
    b_enc: torch.Tensor
    b_dec: torch.Tensor | None
    threshold: torch.Tensor | None

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        """Latents (n, f) in float32 of ``x`` (n, d): the activation of ``(x − b_dec) · W_enc + b_enc``."""
        n_tokens = max(1, _CHUNK_VALUES // self.w_enc.shape[1])
        found = torch.empty(len(x), self.w_enc.shape[1], device=x.device)
        for first in range(0, len(x), n_tokens):
            part = x[first : first + n_tokens].float()
            if self.b_dec is not None:
                part = part - self.b_dec
            found[first : first + n_tokens] = self._activate(torch.addmm(self.b_enc, part, self.w_enc))
        return found

    def _activate(self, z: torch.Tensor) -> torch.Tensor:
        if self.activation == "identity":
            return z
        if self.threshold is not None:
            return z * (z > self.threshold)
        z = z.relu()
        if self.k is None:
            return z
        kept = z.topk(min(self.k, z.shape[1]), dim=1)
        return torch.zeros_like(z).scatter_(1, kept.indices, kept.values)


def describe_sae(config: SaeConfig, d: int) -> SaeFacts:
    """Check the file of an autoencoder over ``d`` neurons, without reading its weights.

    Raises :class:`ModelError` for a file that is missing, no safetensors file, lacks a tensor or has another shape.
    """
    path = Path(resolve_location(config.path)).expanduser().resolve()
    shapes = {name: tuple(tensor.shape) for name, tensor in _tensors(config, path, device="meta").items()}
    n_latents = shapes[config.b_enc][0] if len(shapes[config.b_enc]) == 1 else -1
    fitting = {config.w_enc: ((d, n_latents), (n_latents, d)), config.b_enc: ((n_latents,),), config.b_dec: ((d,),)}
    fitting[config.threshold] = ((n_latents,), (1,), ())
    for name, shape in shapes.items():
        if shape not in fitting[name]:
            raise ModelError(
                f"dump.saes: {config.name!r}: {name} of {path.name} has shape {shape}, where {config.component} has "
                f"{d} neurons; expected {' or '.join(map(str, fitting[name]))}"
            )
    return SaeFacts(n_latents, str(path), file_sha256(path))


def load_sae(config: SaeConfig, facts: SaeFacts, device: torch.device) -> Sae:
    """Load the encoder that a plan recorded; raises :class:`ModelError` if the file has changed since."""
    path = Path(facts.path)
    tensors = _tensors(config, path, device=str(device))
    if file_sha256(path) != facts.sha256:
        raise ModelError(
            f"dump.saes: {config.name!r}: {path} has changed since the plan; restore it, or plan into a new store"
        )
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    w_enc = tensors[config.w_enc]
    if w_enc.shape[1] != facts.width:
        w_enc = w_enc.T
    return Sae(
        (config.component, config.layer),
        (config.name, config.layer),
        config.activation,
        config.k,
        w_enc.contiguous(),
        tensors[config.b_enc],
        tensors.get(config.b_dec),
        tensors.get(config.threshold),
    )


def _tensors(config: SaeConfig, path: Path, device: str) -> dict[str, torch.Tensor]:
    """The tensors that the activation needs; on the meta device none is read."""
    if not path.is_file():
        raise ModelError(f"dump.saes: {config.name!r}: there is no file {path}; correct `path`")
    wanted = [config.w_enc, config.b_enc, *([config.threshold] if config.activation == "jumprelu" else [])]
    try:
        with safe_open(path, framework="pt", device="cpu" if device == "meta" else device) as file:
            names = set(file.keys())
            if config.subtract_b_dec and config.b_dec in names:
                wanted.append(config.b_dec)
            missing = [name for name in wanted if name not in names]
            if missing:
                raise ModelError(
                    f"dump.saes: {config.name!r}: {path.name} has no tensor {missing[0]!r}; it has "
                    f"{', '.join(sorted(names)[:20])}: name the right one (`w_enc`, `b_enc`, `threshold`)"
                )
            if device != "meta":
                return {name: file.get_tensor(name) for name in wanted}
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"dump.saes: {config.name!r}: {path} is no safetensors file that can be read ({error}); convert it"
        ) from error
