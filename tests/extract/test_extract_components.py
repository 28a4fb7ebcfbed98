"""Attention, heads and projections against attention probabilities and the weights themselves, family by family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import ARCHITECTURES, ENCODER_DECODERS, N_LAYERS, VOCAB_SIZE, random_model
from torch import Tensor
from torch.nn import functional

from pipeline.extract.architecture import find_sites
from pipeline.extract.capture import Capture, Target
from pipeline.extract.named_modules import named_sites, site_widths
from pipeline.extract.site import Site
from schemas.components import ModuleConfig
from schemas.errors import ConfigError, ModelError

N_HEADS = 2
ATTENTION = ("attn", "head", "query", "key", "value")
#: The attention's output projection in the first block.
_OUTPUT = {
    "bert": "encoder.layer.0.attention.output.dense", "roberta": "encoder.layer.0.attention.output.dense",
    "electra": "encoder.layer.0.attention.output.dense", "mpnet": "encoder.layer.0.attention.attn.o",
    "distilbert": "transformer.layer.0.attention.out_lin",
    "albert": "encoder.albert_layer_groups.0.albert_layers.0.attention.dense",
    "modernbert": "layers.0.attn.Wo", "gpt2": "h.0.attn.c_proj", "gpt_neox": "layers.0.attention.dense",
    "opt": "decoder.layers.0.self_attn.out_proj", "bloom": "h.0.self_attention.dense",
    "falcon": "h.0.self_attention.dense", "gptj": "h.0.attn.out_proj", "gpt_neo": "h.0.attn.attention.out_proj",
    "t5": "encoder.block.0.layer.0.SelfAttention.o", "mt5": "encoder.block.0.layer.0.SelfAttention.o",
    "bart": "encoder.layers.0.self_attn.out_proj",
}  # fmt: skip
#: Architectures whose attention scores are q · k / √d and nothing else.
_PLAIN = ("bert", "roberta", "electra", "distilbert", "albert", "gpt2", "bart")


def inputs() -> tuple[Tensor, Tensor]:
    ids = torch.randint(4, VOCAB_SIZE, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return ids.masked_fill(mask == 0, 0), mask


def sites_of(model: torch.nn.Module) -> tuple[Site, ...]:
    return find_sites(model, model.config.model_type, N_LAYERS)


def captured(model: torch.nn.Module, targets: list[Target], sites: tuple[Site, ...] = ()) -> dict[Target, Tensor]:
    found: dict[Target, Tensor] = {}
    sites = (*sites_of(model), *sites)
    with torch.no_grad(), Capture(model, sites, targets, lambda t, a: found.__setitem__(t, a.clone())) as capture:
        capture.forward(*inputs())
    return found


def eager(architecture: str) -> torch.nn.Module:
    """A model whose attention probabilities can be had."""
    return random_model(architecture, attention="eager")


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, S, H·d) → (B, H, S, d)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def heads_output(probabilities: Tensor, value: Tensor, head_size: int) -> Tensor:
    """What the heads give side by side: (B, H, Q, K) and (B, K, G·d) → (B, Q, H·d); heads share values in order."""
    n_heads, n_groups = probabilities.shape[1], value.shape[-1] // head_size
    values = split_heads(value, n_groups).repeat_interleave(n_heads // n_groups, dim=1)
    return (probabilities @ values).transpose(1, 2).flatten(-2)


def project(module: torch.nn.Module, x: Tensor) -> Tensor:
    weight = module.weight if isinstance(module, torch.nn.Linear) else module.weight.T
    return functional.linear(x, weight, module.bias)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_are_probabilities_times_values_and_attn_is_their_projection(architecture: str) -> None:
    model = eager(architecture)
    found = captured(model, [(component, layer) for component in ("attn", "head", "value") for layer in (1, 2)])
    ids, mask = inputs()
    with torch.no_grad():
        probabilities = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    for layer in (1, 2):
        head_size = found["head", layer].shape[-1] // N_HEADS
        expected = heads_output(probabilities[layer - 1], found["value", layer], head_size)
        torch.testing.assert_close(found["head", layer][mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)
        path = _OUTPUT.get(architecture, "layers.0.self_attn.o_proj")
        path = path if architecture == "albert" else path.replace(".0.", f".{layer - 1}.", 1)
        with torch.no_grad():
            expected = project(model.get_submodule(path), found["head", layer])
        torch.testing.assert_close(found["attn", layer], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [a for a in _PLAIN if a in ARCHITECTURES])
def test_queries_and_keys_give_the_attention_probabilities(architecture: str) -> None:
    model = eager(architecture)
    found = captured(model, [("query", 2), ("key", 2)])
    ids, mask = inputs()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions[1]
    query, key = (split_heads(found[component, 2], N_HEADS) for component in ("query", "key"))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    allowed = mask[:, None, None, :].bool().expand_as(scores)
    allowed = allowed.tril() if architecture == "gpt2" else allowed
    torch.testing.assert_close(scores.masked_fill(~allowed, -1e30).softmax(-1), expected, rtol=1e-4, atol=1e-5)


def _interleaved(x: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.flatten(-2) for part in x.unflatten(-1, (N_HEADS, -1)).chunk(3, dim=-1))


#: The fused projection, and how the architecture's own code takes it apart.
_FUSED: dict[str, tuple[str, Callable[[Tensor], tuple[Tensor, ...]]]] = {
    "gpt2": ("h.1.attn.c_attn", lambda x: x.split(16, dim=-1)),
    "modernbert": ("layers.1.attn.Wqkv", lambda x: x.unflatten(-1, (3, -1)).unbind(dim=-2)),
    "phi3": ("layers.1.self_attn.qkv_proj", lambda x: x.split([16, 8, 8], dim=-1)),
    "gpt_neox": ("layers.1.attention.query_key_value", _interleaved),
    "bloom": ("h.1.self_attention.query_key_value", _interleaved),
    "falcon": ("h.1.self_attention.query_key_value", lambda x: x.split([16, 8, 8], dim=-1)),
}


@pytest.mark.parametrize("architecture", _FUSED)
def test_fused_projections_are_taken_apart_as_the_architecture_does(architecture: str) -> None:
    model = random_model(architecture)
    path, take_apart = _FUSED[architecture]
    outputs: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _m, _a, out: outputs.append(out.clone()))
    ids, mask = inputs()
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    handle.remove()
    found = captured(model, [(component, 2) for component in ("query", "key", "value")])
    for component, expected in zip(("query", "key", "value"), take_apart(outputs[0]), strict=True):
        torch.testing.assert_close(found[component, 2], expected)


def test_grouped_interleaved_projections_are_taken_apart() -> None:
    """Falcon's new layout: the queries that share a key stand before it."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model("falcon", vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                  num_kv_heads=2, new_decoder_architecture=True)  # fmt: skip
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    found = captured(model, [("head", 1), ("value", 1), ("query", 1), ("key", 1)])
    ids, mask = inputs()
    with torch.no_grad():
        probabilities = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions[0]
    assert [found[c, 1].shape[-1] for c in ("head", "query", "key", "value")] == [32, 32, 16, 16]
    expected = heads_output(probabilities, found["value", 1], 8)
    torch.testing.assert_close(found["head", 1][mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)
    first = model.h[0]
    with torch.no_grad():
        x = first.ln_attn(captured(model, [("resid", 0)])["resid", 0])
        query, key, _ = first.self_attention._split_heads(first.self_attention.query_key_value(x))
    torch.testing.assert_close(found["query", 1], query.flatten(-2))
    torch.testing.assert_close(found["key", 1], key[:, :, ::2].flatten(-2))


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *ENCODER_DECODERS])
def test_widths_are_those_of_the_activations(architecture: str) -> None:
    model = random_model(architecture)
    sites = sites_of(model)
    found = captured(model, [(site.component, layer) for site in sites for layer in site.layers])
    for site in sites:
        for layer in site.layers:
            assert found[site.component, layer].shape == (3, 9, site.width)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_bfloat16_models_hand_over_bfloat16(architecture: str) -> None:
    model = random_model(architecture).to(torch.bfloat16)
    found = captured(model, [(component, 2) for component in ("resid", "mlp", *ATTENTION)])
    assert {activations.dtype for activations in found.values()} == {torch.bfloat16}


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
class TestEncoderDecoders:
    def test_resid_is_what_output_hidden_states_says(self, architecture: str) -> None:
        model = random_model(architecture)
        mask, expected = self._run(model)
        found = captured(model, [(c, n) for c in ("resid", "decoder_resid") for n in range(N_LAYERS + 1)])
        real = mask.bool()
        for layer in range(N_LAYERS):
            torch.testing.assert_close(found["resid", layer][real], expected.encoder_hidden_states[layer][real])
            decoder = expected.decoder_hidden_states[layer][:, 1:]
            torch.testing.assert_close(found["decoder_resid", layer][real], decoder[real])
        last = found["decoder_resid", N_LAYERS]
        with torch.no_grad():
            last = model.decoder.final_layer_norm(last) if architecture != "bart" else last
        torch.testing.assert_close(last[real], expected.last_hidden_state[:, 1:][real])

    def test_a_token_s_decoder_row_depends_on_it_and_not_on_later_ones_of_the_decoder(self, architecture: str) -> None:
        model = random_model(architecture)
        ids, _ = inputs()
        changed = ids.clone()
        changed[:, 5] = (changed[:, 5] + 1) % VOCAB_SIZE
        found = []
        for decoder_ids in (ids, changed):
            start = torch.full((3, 1), model.config.decoder_start_token_id)
            with torch.no_grad():
                out = model(input_ids=ids, decoder_input_ids=torch.cat([start, decoder_ids], 1), use_cache=False)
            found.append(out.last_hidden_state[:, 1:])
        differs = (found[0] - found[1]).abs().amax(dim=(0, 2)) > 1e-4
        assert differs.tolist() == [False] * 5 + [True] * 4
        mine = captured(model, [("decoder_resid", 0)])["decoder_resid", 0]
        assert not torch.equal(mine[:, 5], mine[:, 4])

    def test_heads_are_probabilities_times_values(self, architecture: str) -> None:
        model = eager(architecture)
        mask, expected = self._run(model, output_attentions=True)
        components = ("head", "value", "decoder_head", "decoder_cross_head", "decoder_cross_attn", "attn")
        found = captured(model, [(component, 2) for component in components] + [("resid", 2)])
        real, size = mask.bool(), found["head", 2].shape[-1] // N_HEADS
        head = heads_output(expected.encoder_attentions[1], found["value", 2], size)
        torch.testing.assert_close(found["head", 2][real], head[real], rtol=1e-4, atol=1e-5)
        attention = model.decoder.layers[1].encoder_attn if architecture == "bart" else (
            model.decoder.block[1].layer[1].EncDecAttention
        )  # fmt: skip
        with torch.no_grad():
            if architecture == "bart":
                value, out = attention.v_proj(expected.encoder_last_hidden_state), attention.out_proj
            else:
                value, out = attention.v(expected.encoder_last_hidden_state), attention.o
            cross = heads_output(expected.cross_attentions[1], value, size)[:, 1:]
            torch.testing.assert_close(found["decoder_cross_head", 2][real], cross[real], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found["decoder_cross_attn", 2], project(out, found["decoder_cross_head", 2]))

    def test_mlp_is_the_input_of_the_down_projection(self, architecture: str) -> None:
        model = random_model(architecture)
        found = captured(model, [("mlp", 1), ("decoder_mlp", 1), ("resid", 1), ("decoder_resid", 1)])
        before: list[Tensor] = []
        half = model.encoder.layers[0] if architecture == "bart" else model.encoder.block[0].layer[1].DenseReluDense
        names = {"bart": ("fc1",), "t5": ("wi",), "mt5": ("wi_0", "wi_1")}[architecture]
        handles = [
            half.get_submodule(name).register_forward_hook(lambda _m, _a, out: before.append(out.clone()))
            for name in names
        ]
        self._run(model)
        for handle in handles:
            handle.remove()
        act = half.activation_fn if architecture == "bart" else half.act
        expected = act(before[0]) if len(before) == 1 else act(before[0]) * before[1]
        torch.testing.assert_close(found["mlp", 1], expected)
        assert found["decoder_mlp", 1].shape == (3, 9, 24)

    @pytest.mark.parametrize(
        ("last", "calls"),
        [(("resid", 0), (1, 0)), (("mlp", 1), (1, 0)), (("attn", 2), (2, 0)), (("decoder_head", 1), (2, 1))],
    )
    def test_the_pass_ends_after_the_last_target(self, architecture: str, last: Target, calls: tuple[int, int]) -> None:
        model = random_model(architecture)
        counts = [0, 0]
        sites = sites_of(model)
        for half, component in enumerate(("resid", "decoder_resid")):
            blocks = next(site.modules for site in sites if site.component == component and site.at == "output")
            for block in blocks:
                block.register_forward_pre_hook(lambda *_, h=half: counts.__setitem__(h, counts[h] + 1))
        assert list(captured(model, [last])) == [last]
        assert tuple(counts) == calls

    def _run(self, model: torch.nn.Module, **options: bool) -> tuple[Tensor, object]:
        ids, mask = inputs()
        start = torch.full((3, 1), model.config.decoder_start_token_id)
        with torch.no_grad():
            out = model(
                input_ids=ids,
                attention_mask=mask,
                decoder_input_ids=torch.cat([start, ids], dim=1),
                decoder_attention_mask=torch.cat([torch.ones(3, 1, dtype=mask.dtype), mask], dim=1),
                output_hidden_states=True,
                use_cache=False,
                **options,
            )
        return mask, out


@pytest.mark.parametrize(
    ("architecture", "module", "layers", "width"),
    [
        ("bert", ModuleConfig(name="x", pattern="encoder.layer.{layer}.attention"), (1, 2), 16),
        ("bert", ModuleConfig(name="x", pattern="encoder.layer.{layer}.intermediate.dense", at="input"), (1, 2), 16),
        ("gpt2", ModuleConfig(name="x", pattern="h.{layer}.mlp.c_fc"), (1, 2), 24),
        ("opt", ModuleConfig(name="x", pattern="decoder.layers.{layer}.fc1"), (1, 2), 24),
        ("llama", ModuleConfig(name="x", pattern="norm"), (0,), 16),
        ("mixtral", ModuleConfig(name="x", pattern="layers.{layer}.mlp"), (1, 2), 16),
        ("t5", ModuleConfig(name="x", pattern="decoder.block.{layer}.layer.1.EncDecAttention.k"), (1, 2), 12),
        ("bart", ModuleConfig(name="x", pattern="decoder.layernorm_embedding"), (0,), 16),
    ],
)
def test_modules_by_path(architecture: str, module: ModuleConfig, layers: tuple[int, ...], width: int) -> None:
    model = random_model(architecture)
    (site,) = named_sites(model, [module])
    assert site.layers == layers
    with torch.device("meta"):
        empty = type(model)(model.config)
    assert site_widths(empty, named_sites(empty, [module])) == {"x": width}
    seen: list[Tensor] = []
    path = module.pattern.replace("{layer}", str(max(layers[-1] - 1, 0)))
    if module.at == "input":
        handle = model.get_submodule(path).register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
    else:
        handle = model.get_submodule(path).register_forward_hook(
            lambda _m, _a, out: seen.append((out if torch.is_tensor(out) else out[0]).clone())
        )
    found = captured(model, [("x", layer) for layer in layers], (site,))
    handle.remove()
    expected = seen[-1].reshape(3, -1, width)
    torch.testing.assert_close(found["x", layers[-1]], expected[:, expected.shape[1] - 9 :])


@pytest.mark.parametrize(
    ("architecture", "module", "message"),
    [
        ("bert", {"pattern": "encoder.layer.{layer}.attn"}, r"no module 'encoder.layer.\{layer\}.attn'; it has"),
        (
            "llama",
            {"pattern": "layers.{layer}.nope"},
            r"for example, layers\.\{layer\}\.mlp, layers\.\{layer\}\.self_attn, layers\.\{layer\}\.\w+",
        ),
        ("llama", {"pattern": "layer.{layer}.self_atn"}, r"for example, layers\.\{layer\}\.self_attn, layers"),
        ("llama", {"pattern": "norms"}, r"for example, norm, "),
        ("bert", {"pattern": "pooler"}, r"'x': its module has \(2, 16\) where 2 × 5 tokens go through"),
        ("bert", {"pattern": "encoder"}, "handles no tensor there"),
        ("albert", {"pattern": "encoder.albert_layer_groups.{layer}"}, "calls its module 2 times, not once"),
        ("t5", {"pattern": "encoder.block.{layer}.layer.0.SelfAttention.relative_attention_bias"}, "not one vector"),
    ],
)
def test_modules_that_are_no_component_are_refused(architecture: str, module: dict[str, str], message: str) -> None:
    with torch.device("meta"):
        model = type(random_model(architecture))(random_model(architecture).config)
    with pytest.raises((ConfigError, ModelError), match=message):
        site_widths(model, named_sites(model, [ModuleConfig(name="x", **module)]))


def test_one_pass_gives_everything_and_ends_with_the_last_of_it() -> None:
    model = random_model("llama")
    calls: list[int] = []
    for number, block in enumerate(model.layers):
        block.register_forward_pre_hook(lambda *_, n=number: calls.append(n))
    model.norm.register_forward_hook(lambda *_: calls.append(-1))
    targets = [("resid", 0), ("resid", 1), ("mlp", 1), ("key", 2), ("head", 1)]
    assert set(captured(model, targets)) == set(targets)
    assert calls == [0, 1]
    calls.clear()
    captured(model, [("resid", 0), ("attn", 1)])
    assert calls == [0]


def test_a_target_the_pass_never_comes_by_is_an_error() -> None:
    model = random_model("bert")
    unused = Site("x", (torch.nn.Linear(2, 2),), (0,), "output", 2)
    with pytest.raises(ModelError, match="x layer 0: the forward pass never called its module"):
        captured(model, [("x", 0)], (unused,))
