"""Where an architecture keeps its blocks and its MLP neurons.

``resid`` is what a block returns; ``mlp`` is the *input of the down projection* of a block (the neurons after the
activation function). Both are found by the names that transformers gives its modules, so that one table covers many
model families.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from schemas.errors import ModelError

#: Paths of the list of blocks. ALBERT's "groups" are shared between layers: a group is called once for every layer.
_BLOCK_LISTS = (
    "encoder.layer",  # BERT, RoBERTa, MPNet, ELECTRA, DeBERTa
    "transformer.layer",  # DistilBERT
    "encoder.albert_layer_groups",  # ALBERT
    "h",  # GPT-2, GPT-J, GPT-Neo, BLOOM, Falcon
    "layers",  # Llama, Qwen, Gemma, SmolLM3, GPT-NeoX, ModernBERT, Phi, OLMo
    "decoder.layers",  # OPT
    "language_model.layers",  # the text half of a multimodal model
)
#: Paths of the down projection inside a block.
_DOWN_PROJECTIONS = (
    "mlp.down_proj",  # Llama, Qwen, Gemma, SmolLM3, Phi-3, OLMo
    "mlp.c_proj",  # GPT-2, GPT-Neo, StarCoder2
    "mlp.dense_4h_to_h",  # GPT-NeoX, BLOOM, Falcon
    "mlp.Wo",  # ModernBERT
    "mlp.fc2",  # Phi
    "mlp.fc_out",  # GPT-J
    "ffn.lin2",  # DistilBERT
    "fc2",  # OPT
    "output.dense",  # BERT, RoBERTa, MPNet (attention.output.dense is another one)
    "albert_layers.0.ffn_output",  # ALBERT
)


@dataclass(frozen=True)
class Blocks:
    """Blocks of a model in the order they are called.

    ``modules``: the distinct block modules; ``downs``: their down projections, empty where the architecture has none
    (a mixture of experts); ``n_layers``: calls of blocks in one forward pass; ``mlp_width``: neurons of a down
    projection's input.
    """

    modules: tuple[nn.Module, ...]
    downs: tuple[nn.Module, ...]
    n_layers: int
    mlp_width: int | None


def find_blocks(model: nn.Module, architecture: str, n_layers: int) -> Blocks:
    """Find the blocks of ``model``, whose config says it has ``n_layers`` of them.

    Raises :class:`ModelError` when none of the known paths leads to a list of blocks.
    """
    for path in _BLOCK_LISTS:
        found = _submodule(model, path)
        if isinstance(found, nn.ModuleList) and (len(found) == n_layers or "albert" in path):
            downs = _down_projections(list(found))
            return Blocks(tuple(found), tuple(downs), n_layers, _common_width(downs))
    raise ModelError(
        f"architecture {architecture!r} ({type(model).__name__}): no list of {n_layers} blocks "
        f"at any of {', '.join(_BLOCK_LISTS)}; use a model of a family listed in the documentation"
    )


def _down_projections(blocks: list[nn.Module]) -> list[nn.Module]:
    for path in _DOWN_PROJECTIONS:
        downs = [_submodule(block, path) for block in blocks]
        if all(isinstance(down, nn.Linear | Conv1D) for down in downs):
            shared = [getattr(block, "albert_layers", (None,)) for block in blocks]
            return [down for down in downs if down is not None] if all(len(inner) == 1 for inner in shared) else []
    return []


def _common_width(downs: list[nn.Module]) -> int | None:
    # Conv1D, GPT-2's transposed linear layer, has its input on the first axis of the weight
    widths = {int(down.weight.shape[1 if isinstance(down, nn.Linear) else 0]) for down in downs}  # type: ignore[index]
    return widths.pop() if len(widths) == 1 else None


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
