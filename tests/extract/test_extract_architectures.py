"""Captured activations against output_hidden_states and against neurons computed from the projections before them."""

from __future__ import annotations

import pytest
import torch
from tiny_models import ARCHITECTURES, N_LAYERS, VOCAB_SIZE, random_model
from transformers.activations import ACT2FN

from pipeline.extract.architecture import find_sites
from pipeline.extract.capture import Capture
from pipeline.extract.site import Site
from schemas.errors import ModelError

#: Modules before the activation function, and how their outputs become neurons.
_GATED = ("mlp.gate_proj", "mlp.up_proj")
_BEFORE = {
    "bert": ("intermediate.dense",), "roberta": ("intermediate.dense",), "mpnet": ("intermediate.dense",),
    "distilbert": ("ffn.lin1",), "albert": ("albert_layers.0.ffn",), "gpt2": ("mlp.c_fc",),
    "electra": ("intermediate.dense",), "falcon": ("mlp.dense_h_to_4h",), "phi3": ("mlp.gate_up_proj",),
    "gptj": ("mlp.fc_in",), "gpt_neo": ("mlp.c_fc",), "gpt_neox": ("mlp.dense_h_to_4h",),
    "opt": ("fc1",), "modernbert": ("mlp.Wi",),
}  # fmt: skip
_ACTIVATION_KEYS = ("hidden_act", "activation", "activation_function", "hidden_activation")


def _neurons(architecture: str, model: torch.nn.Module, outputs: list[torch.Tensor]) -> torch.Tensor:
    keys = (
        ("hidden_activation", *_ACTIVATION_KEYS)
        if architecture in {"gemma", "gemma2", "gemma3_text"}
        else _ACTIVATION_KEYS
    )
    name = next(value for key in keys if isinstance(value := getattr(model.config, key, None), str))
    act = ACT2FN[name]
    if architecture == "phi3":
        gate, x = outputs[0].chunk(2, dim=-1)
        return x * act(gate)
    if architecture == "modernbert":
        x, gate = outputs[0].chunk(2, dim=-1)
        return act(x) * gate
    return act(outputs[0]) if len(outputs) == 1 else act(outputs[0]) * outputs[1]


def _blocks(sites: tuple[Site, ...]) -> tuple[torch.nn.Module, ...]:
    """The distinct blocks."""
    return next(site.modules for site in sites if site.component == "resid" and site.at == "output")


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, VOCAB_SIZE, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return ids.masked_fill(mask == 0, 0), mask


def _captured(model: torch.nn.Module, targets: list[tuple[str, int]]) -> dict[tuple[str, int], torch.Tensor]:
    found: dict[tuple[str, int], torch.Tensor] = {}
    sites = find_sites(model, model.config.model_type, N_LAYERS)
    with torch.no_grad(), Capture(model, sites, targets, lambda t, a: found.__setitem__(t, a.clone())) as capture:
        capture.forward(*_inputs())
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_resid_is_what_output_hidden_states_says(architecture: str) -> None:
    model = random_model(architecture)
    ids, mask = _inputs()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    found = _captured(model, [("resid", layer) for layer in range(N_LAYERS + 1)])
    real = mask.bool()
    for layer in range(N_LAYERS):
        torch.testing.assert_close(found["resid", layer][real], expected.hidden_states[layer][real])
    last = found["resid", N_LAYERS]
    norm = next((m for n, m in model.named_children() if n in {"norm", "ln_f", "final_layer_norm", "final_norm"}), None)
    norm = model.decoder.final_layer_norm if architecture == "opt" else norm
    with torch.no_grad():
        last = norm(last) if norm is not None else last
    torch.testing.assert_close(last[real], expected.last_hidden_state[real])


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a not in {"mixtral", "bloom"}])
def test_mlp_is_the_activation_function_of_the_projections_before(architecture: str) -> None:
    model = random_model(architecture)
    sites = find_sites(model, architecture, N_LAYERS)
    outputs: list[torch.Tensor] = []
    handles = [
        block.get_submodule(path).register_forward_hook(lambda _m, _a, out: outputs.append(out.clone()))
        for block in _blocks(sites)
        for path in _BEFORE.get(architecture, _GATED)
    ]
    ids, mask = _inputs()
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    for handle in handles:
        handle.remove()
    n = len(outputs) // N_LAYERS
    found = _captured(model, [("mlp", 1), ("mlp", 2)])
    for layer in (1, 2):
        expected = _neurons(architecture, model, outputs[(layer - 1) * n : layer * n])
        torch.testing.assert_close(found["mlp", layer], expected.reshape(found["mlp", layer].shape))
        assert found["mlp", layer].shape == (3, 9, 24)


def test_mixture_of_experts_has_resid_but_no_mlp() -> None:
    components = {site.component for site in find_sites(random_model("mixtral"), "mixtral", N_LAYERS)}
    assert components == {"resid", "attn", "head", "query", "key", "value"}


def test_an_architecture_without_known_blocks_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"'toy' \(Linear\): no list of 2 blocks"):
        find_sites(torch.nn.Linear(2, 2), "toy", 2)


@pytest.mark.parametrize("architecture", ["bert", "llama", "albert"])
@pytest.mark.parametrize("last", [("resid", 0), ("mlp", 1), ("resid", 1)])
def test_forward_ends_after_the_last_target(architecture: str, last: tuple[str, int]) -> None:
    model = random_model(architecture)
    sites = find_sites(model, architecture, N_LAYERS)
    calls: list[int] = []
    handles = [block.register_forward_pre_hook(lambda *_: calls.append(1)) for block in _blocks(sites)]
    found = _captured(model, [last])
    for handle in handles:
        handle.remove()
    assert list(found) == [last]
    assert len(calls) == 1


def test_hooks_are_gone_afterwards() -> None:
    model = random_model("gpt2")
    _captured(model, [("mlp", 1), ("resid", 2)])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama"])
def test_padding_changes_no_row(architecture: str) -> None:
    """With learned, offset and rotary positions, and with and without a causal mask."""
    model = random_model(architecture)
    ids, _ = _inputs()
    padded = _captured(model, [("resid", 2)])["resid", 2][1, :6]
    alone: list[torch.Tensor] = []
    sites = find_sites(model, architecture, N_LAYERS)
    with torch.no_grad(), Capture(model, sites, [("resid", 2)], lambda _t, a: alone.append(a.clone())) as capture:
        capture.forward(ids[1:2, :6], torch.ones(1, 6, dtype=torch.int64))
    torch.testing.assert_close(padded, alone[0][0], rtol=1e-4, atol=1e-4)
