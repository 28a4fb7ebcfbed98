"""Where an architecture keeps its blocks, and where in a block each component is read.

``resid`` is what a block returns (layer 0: what the first block takes); ``mlp`` is the *input of the down projection*
of a block, the neurons after the activation function; ``attn`` the output of the attention's output projection, before
anything is added; ``head`` the input of that projection, which is the heads' outputs side by side; ``query``, ``key``
and ``value`` what their projections give, before rotary positions. All are found by the names that transformers gives
its modules, so that one table covers many model families.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from pipeline.extract.site import FusedPart, Site
from schemas.components import DECODER
from schemas.errors import ModelError

#: Paths of the list of blocks. ALBERT's "groups" are shared between layers: a group is called once for every layer.
_BLOCK_LISTS = (
    "encoder.layer",  # BERT, RoBERTa, MPNet, ELECTRA, DeBERTa
    "transformer.layer",  # DistilBERT
    "encoder.albert_layer_groups",  # ALBERT
    "h",  # GPT-2, GPT-J, GPT-Neo, BLOOM, Falcon
    "layers",  # Llama, Qwen, Gemma, SmolLM3, GPT-NeoX, ModernBERT, Phi, OLMo; BART's encoder and decoder
    "block",  # T5's encoder and decoder
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
    "fc2",  # OPT, BART
    "output.dense",  # BERT, RoBERTa, MPNet (attention.output.dense is another one)
    "albert_layers.0.ffn_output",  # ALBERT
    "layer.1.DenseReluDense.wo",  # T5, encoder
    "layer.2.DenseReluDense.wo",  # T5, decoder
)
#: Paths of the attention's output projection inside a block.
_OUTPUT_PROJECTIONS = (
    "self_attn.o_proj",  # Llama, Qwen, Gemma, SmolLM3, Phi-3, OLMo, StarCoder2
    "attn.c_proj",  # GPT-2
    "attn.attention.out_proj",  # GPT-Neo
    "attn.out_proj",  # GPT-J
    "attn.Wo",  # ModernBERT
    "attention.dense",  # GPT-NeoX
    "self_attention.dense",  # BLOOM, Falcon
    "self_attn.dense",  # Phi
    "self_attn.out_proj",  # OPT, BART
    "attention.out_lin",  # DistilBERT
    "attention.attn.o",  # MPNet
    "attention.output.dense",  # BERT, RoBERTa, ELECTRA, DeBERTa
    "albert_layers.0.attention.dense",  # ALBERT
    "layer.0.SelfAttention.o",  # T5
)
#: The same of the attention from a decoder to its encoder.
_CROSS_PROJECTIONS = ("encoder_attn.out_proj", "layer.1.EncDecAttention.o")
#: Paths of query, key and value where they are three modules.
_QUERY_KEY_VALUE = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
    ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
    ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    ("albert_layers.0.attention.query", "albert_layers.0.attention.key", "albert_layers.0.attention.value"),
    ("layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"),
)
#: Model type → path of the one projection of all three, and whether its columns are interleaved by key/value head. By
#: model type, since modules of the same name lay them out differently elsewhere.
_FUSED: dict[str, tuple[str, bool]] = {
    "gpt2": ("attn.c_attn", False),
    "modernbert": ("attn.Wqkv", False),
    "phi3": ("self_attn.qkv_proj", False),
    "gpt_neox": ("attention.query_key_value", True),
    "bloom": ("self_attention.query_key_value", True),
    "falcon": ("self_attention.query_key_value", True),
}


def find_sites(model: nn.Module, architecture: str, n_layers: int) -> tuple[Site, ...]:
    """Sites of all components of ``model``, whose config says it has ``n_layers`` blocks.

    An encoder–decoder has its encoder's under the plain names and its decoder's behind ``decoder_``. A component is
    left out where the architecture has no module for it (``mlp`` of a mixture of experts). Raises :class:`ModelError`
    when none of the known paths leads to a list of blocks.
    """
    if not is_encoder_decoder(model):
        return tuple(_stack_sites(model, model, architecture, n_layers))
    halves = [(prefix, _submodule(model, name)) for prefix, name in (("", "encoder"), (DECODER, "decoder"))]
    sites: list[Site] = []
    for prefix, half in halves:
        sites += _stack_sites(model, half or nn.Module(), architecture, None, prefix)
    return tuple(sites)


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether the model has an encoder and a decoder that reads it."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _stack_sites(
    model: nn.Module, stack: nn.Module, architecture: str, n_layers: int | None, prefix: str = ""
) -> Iterator[Site]:
    blocks = _blocks(model, stack, architecture, n_layers)
    layers = tuple(range(1, (n_layers or len(blocks)) + 1))
    width = int(_text_config(model).hidden_size)
    yield Site(f"{prefix}resid", (blocks[0],), (0,), "input", width)
    yield Site(f"{prefix}resid", tuple(blocks), layers, "output", width)
    if any(len(getattr(block, "albert_layers", (None,))) != 1 for block in blocks):
        return  # an ALBERT group of several inner layers calls each of its modules several times
    places: tuple[tuple[str, tuple[str, ...], Literal["input", "output"]], ...] = (
        ("mlp", _DOWN_PROJECTIONS, "input"),
        ("attn", _OUTPUT_PROJECTIONS, "output"),
        ("head", _OUTPUT_PROJECTIONS, "input"),
        ("cross_attn", _CROSS_PROJECTIONS, "output"),
        ("cross_head", _CROSS_PROJECTIONS, "input"),
    )
    for name, paths, side in places:
        modules = _projections(blocks, paths)
        if modules and (n_neurons := _width(modules, side)):
            yield Site(f"{prefix}{name}", modules, layers, side, n_neurons)
    yield from _projection_sites(model, blocks, architecture, layers, prefix)


def _projection_sites(
    model: nn.Module, blocks: Sequence[nn.Module], architecture: str, layers: tuple[int, ...], prefix: str
) -> Iterator[Site]:
    """Sites of query, key and value: three modules, or parts of one."""
    names = ("query", "key", "value")
    for paths in _QUERY_KEY_VALUE:
        found = [_projections(blocks, (path,)) for path in paths]
        if all(found):
            for name, modules in zip(names, found, strict=True):
                if n_neurons := _width(modules, "output"):
                    yield Site(f"{prefix}{name}", modules, layers, "output", n_neurons)
            return
    path, is_interleaved = _FUSED.get(architecture, ("", False))
    fused = _projections(blocks, (path,)) if path else ()
    n_fused, n_query = (_width(fused, "output"), _width(_projections(blocks, _OUTPUT_PROJECTIONS), "input"))
    if n_fused and n_query:
        n_heads = int(_text_config(model).num_attention_heads) if is_interleaved else 1
        for name, part in zip(names, _fused_parts(n_fused, n_query, n_heads, is_interleaved), strict=True):
            yield Site(f"{prefix}{name}", fused, layers, "output", part.width, part)


def _fused_parts(n_fused: int, n_query: int, n_heads: int, is_interleaved: bool) -> tuple[FusedPart, ...]:
    """Query, key and value of a projection of ``n_fused`` columns, ``n_query`` of which are queries."""
    if not is_interleaved:
        n_key = (n_fused - n_query) // 2
        edges = (0, n_query, n_query + n_key, n_query + 2 * n_key)
        return tuple(FusedPart(1, first, stop) for first, stop in pairwise(edges))
    head = n_query // n_heads
    groups = (n_fused - n_query) // (2 * head)  # key/value heads, each behind the queries that read it
    n_queries = n_query // groups
    edges = (0, n_queries, n_queries + head, n_queries + 2 * head)
    return tuple(FusedPart(groups, first, stop) for first, stop in pairwise(edges))


def _blocks(model: nn.Module, stack: nn.Module, architecture: str, n_layers: int | None) -> list[nn.Module]:
    for path in _BLOCK_LISTS:
        found = _submodule(stack, path)
        if isinstance(found, nn.ModuleList) and (n_layers in (None, len(found)) or "albert" in path):
            return list(found)
    number = "" if n_layers is None else f"{n_layers} "
    raise ModelError(
        f"architecture {architecture!r} ({type(model).__name__}): no list of {number}blocks "
        f"at any of {', '.join(_BLOCK_LISTS)}; use a model of a family listed in the documentation"
    )


def _projections(blocks: Sequence[nn.Module], paths: Sequence[str]) -> tuple[nn.Module, ...]:
    """The linear layers at the first of ``paths`` that leads to one in every block; empty where none does."""
    for path in paths:
        found = [_submodule(block, path) for block in blocks]
        if all(isinstance(module, nn.Linear | Conv1D) for module in found):
            return tuple(module for module in found if module is not None)
    return ()


def _width(projections: Sequence[nn.Module], side: Literal["input", "output"]) -> int | None:
    """Columns that all of them take (or give); None where they differ, or there are none."""
    # Conv1D, GPT-2's transposed linear layer, has its input on the first axis of the weight
    widths = {
        int(projection.weight.shape[int(isinstance(projection, nn.Linear) == (side == "input"))])  # type: ignore[index]
        for projection in projections
    }
    return widths.pop() if len(widths) == 1 else None


def _text_config(model: nn.Module) -> Any:
    return model.config if is_encoder_decoder(model) else model.config.get_text_config()  # type: ignore[union-attr, operator]


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
