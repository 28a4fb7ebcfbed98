"""Hooks that hand over activations during a forward pass, and end it after the last layer asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import nn

from pipeline.extract.architecture import Blocks

#: Component and layer: ``("resid", 0)`` embeddings, ``("resid", i + 1)`` output of block i, ``("mlp", i + 1)`` its
#: neurons.
Target = tuple[str, int]
Consumer = Callable[[Target, torch.Tensor], None]


class _LastLayerReachedError(Exception):
    """Ends the forward pass: nothing after this layer was asked for."""


class Capture:
    """Call ``consume(target, activations)`` for every target of a forward pass, as soon as it is computed.

    ``activations``: (batch, length, N) in the compute dtype; a view that is only valid inside the call, so copy what
    is needed. A layer is the number of block *calls* so far, since ALBERT calls one module for all layers. Use as a
    context manager around forward passes made by :meth:`forward`.
    """

    def __init__(self, module: nn.Module, blocks: Blocks, targets: Iterable[Target], consume: Consumer) -> None:
        self._module, self._blocks, self._consume = module, blocks, consume
        self._targets = frozenset(targets)
        # inside a block its neurons come before its output
        self._last = max(self._targets, key=lambda target: (target[1], target[0] == "resid"), default=None)
        self._n_blocks = 0
        self._n_mlps = 0
        self._shape: tuple[int, int] = (0, 0)
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for block in dict.fromkeys(self._blocks.modules):
            self._handles.append(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
            self._handles.append(block.register_forward_hook(self._after_block))
        if any(component == "mlp" for component, _ in self._targets):
            for down in dict.fromkeys(self._blocks.downs):
                self._handles.append(down.register_forward_pre_hook(self._before_down))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Run the model on int64 (batch, length) ids with their mask; targets go to ``consume``."""
        self._n_blocks = self._n_mlps = 0
        self._shape = (input_ids.shape[0], input_ids.shape[1])
        try:
            self._module(input_ids=input_ids, attention_mask=attention_mask)
        except _LastLayerReachedError:
            return

    def _before_block(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._n_blocks == 0:
            self._hand_over(("resid", 0), args[0] if args else kwargs["hidden_states"])

    def _after_block(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        self._n_blocks += 1
        # MPNet and BLOOM return a tuple, most others the bare tensor
        self._hand_over(("resid", self._n_blocks), output if torch.is_tensor(output) else output[0])

    def _before_down(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        self._n_mlps += 1
        # OPT flattens batch and length into one axis, ModernBERT may too
        self._hand_over(("mlp", self._n_mlps), args[0].reshape(*self._shape, args[0].shape[-1]))

    def _hand_over(self, target: Target, activations: torch.Tensor) -> None:
        if target in self._targets:
            self._consume(target, activations)
        if target == self._last:
            raise _LastLayerReachedError
