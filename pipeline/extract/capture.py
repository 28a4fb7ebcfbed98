"""Hooks that hand over activations during a forward pass, and end it after the last one asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from pipeline.extract.architecture import is_encoder_decoder
from pipeline.extract.site import Site, first_argument
from schemas.errors import ModelError

#: Component and layer: ``("resid", 0)`` embeddings, ``("resid", i + 1)`` output of block i, ``("mlp", i + 1)`` its
#: neurons.
Target = tuple[str, int]
Consumer = Callable[[Target, torch.Tensor], None]


class _LastTargetReachedError(Exception):
    """Ends the forward pass: nothing after this was asked for."""


class Capture:
    """Call ``consume(target, activations)`` for every target of a forward pass, as soon as it is computed.

    ``activations``: (batch, length, N) in the compute dtype; a view that is only valid inside the call, so copy what
    is needed. The pass ends when all targets have been handed over. The decoder of an encoder–decoder is given the
    start token and then the sentence itself (teacher forcing); its activations are those of the positions that read
    the tokens, so ``length`` is the same in both halves. Use as a context manager around passes made by
    :meth:`forward`.
    """

    def __init__(self, module: nn.Module, sites: Sequence[Site], targets: Iterable[Target], consume: Consumer) -> None:
        self._module, self._consume = module, consume
        self._targets = frozenset(targets)
        self._sites = [site for site in sites if any((site.component, layer) in self._targets for layer in site.layers)]
        self._n_calls = [0] * len(self._sites)
        self._waiting: set[Target] = set()
        self._shape: tuple[int, int] = (0, 0)
        self._start = start_token(module)
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for number, site in enumerate(self._sites):
            for module in dict.fromkeys(site.modules):
                if site.at == "input":
                    hook = module.register_forward_pre_hook(partial(self._before, number), with_kwargs=True)
                else:
                    hook = module.register_forward_hook(partial(self._after, number))
                self._handles.append(hook)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor | None = None
    ) -> None:
        """Run the model on int64 (batch, length) ids with their mask; targets go to ``consume``.

        Raises :class:`ModelError` for a target that the pass did not come by, or that is not one vector per token.
        """
        self._n_calls = [0] * len(self._sites)
        self._waiting = set(self._targets)
        self._shape = (input_ids.shape[0], input_ids.shape[1])
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        if self._start is not None:
            inputs |= teacher_forced(input_ids, attention_mask, self._start)
        try:
            self._module(**inputs)
        except _LastTargetReachedError:
            return
        if self._waiting:
            component, layer = min(self._waiting)
            raise ModelError(f"{component} layer {layer}: the forward pass never called its module; drop it")

    def _before(self, number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._called(number, first_argument(args, kwargs))

    def _after(self, number: int, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        self._called(number, output)

    def _called(self, number: int, given: Any) -> None:
        """A site's module was called: the n-th call is the site's n-th layer."""
        site, n_calls = self._sites[number], self._n_calls[number]
        self._n_calls[number] += 1
        target = (site.component, site.layers[n_calls]) if n_calls < len(site.layers) else None
        if target in self._waiting:
            self._consume(target, per_token(site.read(given), self._shape, site.component))
            self._waiting.remove(target)
            if not self._waiting:
                raise _LastTargetReachedError


def per_token(activations: torch.Tensor, shape: tuple[int, int], component: str) -> torch.Tensor:
    """``activations`` as (batch, length, N), ``shape`` being (batch, length) of the input.

    OPT's, (batch · length, N), get their axis back; a teacher-forced decoder's (batch, 1 + length, N) lose the
    position that reads the start token. Raises :class:`ModelError` for anything else.
    """
    batch, length = shape
    n_positions = activations.shape[:-1].numel() // batch if activations.ndim in (2, 3) else 0
    is_whole = activations.ndim == 2 or tuple(activations.shape[:-1]) == (batch, n_positions)
    if n_positions not in (length, length + 1) or not is_whole or activations.shape[:-1].numel() % batch:
        raise ModelError(
            f"component {component!r}: its module has {tuple(activations.shape)} where {batch} × {length} tokens go "
            "through, not one vector per token; name another module or side (`at`) in dump.modules"
        )
    return activations.reshape(batch, n_positions, -1)[:, n_positions - length :]


def start_token(module: nn.Module) -> int | None:
    """The id that an encoder–decoder's decoder reads first; None for other models."""
    if not is_encoder_decoder(module):
        return None
    config: Any = module.config
    start = getattr(config, "decoder_start_token_id", None)
    return int(start if start is not None else getattr(config, "pad_token_id", None) or 0)


def teacher_forced(input_ids: torch.Tensor, attention_mask: torch.Tensor, start: int) -> dict[str, Any]:
    """Arguments that make the decoder read the start token and then the sentence: position i + 1 reads token i."""
    n = len(input_ids)
    return {
        "decoder_input_ids": torch.cat([input_ids.new_full((n, 1), start), input_ids], dim=1),
        "decoder_attention_mask": torch.cat([attention_mask.new_ones((n, 1)), attention_mask], dim=1),
        "use_cache": False,
    }
