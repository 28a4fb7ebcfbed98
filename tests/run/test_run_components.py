"""Whole runs over every kind of component: what was asked for is in the store, and every analysis takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import save_model
from tiny_run import Finished, Inputs, plan_only, run_stages, tables, write_corpus
from transformers import AutoModel

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import ConfigError, ModelError

BUILT_IN = ["resid", "mlp", "attn", "head", "query", "key", "value"]
MODULE = {"name": "ffn_out", "pattern": "encoder.layer.{layer}.output"}
BEFORE_LAYERS = {"name": "embedded", "pattern": "embeddings"}


def save_sae(folder: Path) -> dict[str, Any]:
    """A file over 16 neurons with 40 latents, and its entry in `dump.saes`."""
    rng = np.random.default_rng(3)
    shapes = {"W_enc": (16, 40), "b_enc": (40,), "b_dec": (16,)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae.safetensors")
    return {"name": "latents", "path": str(folder / "sae.safetensors"), "layer": 2, "activation": "topk", "k": 8}


def everything(folder: Path) -> dict[str, Any]:
    return {
        "rows_per_shard": 150,
        "token_budget": 128,
        "components": [*BUILT_IN, "ffn_out", "embedded", "latents"],
        "modules": [MODULE, BEFORE_LAYERS],
        "saes": [save_sae(folder)],
    }


@pytest.fixture(scope="module")
def few(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A dozen documents, one of them with sentences longer than a window."""
    train, test = write_corpus(tmp_path_factory.mktemp("few"), n_train=8, n_test=4)
    return replace(inputs, train=train, test=test)


@pytest.fixture(scope="module")
def whole(few: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All stages over all components, with three labels to search for."""
    folder = tmp_path_factory.mktemp("whole")
    concepts = {"include": [{"layer": "upos", "min_count": 30}]}
    sections: dict[str, Any] = {"dump": everything(folder), "concepts": concepts, "search": {"keep": 3}}
    return run_stages(few.config(folder / "store", **sections))


def test_every_component_is_dumped_with_its_layers_and_width(whole: Finished) -> None:
    with tables(whole.store) as read:
        found = {
            name: (read.rows(f"SELECT DISTINCT layer FROM activations_{name} ORDER BY 1"), values.shape[1])
            for name in whole.plan.capture.components
            for _, values in [read.activations(name, whole.plan.capture.layers[name][-1])]
        }
        ((components, layers),) = read.rows("SELECT components, layers FROM runs")
    expected = {name: ([(1,), (2,)], 16) for name in BUILT_IN}
    expected["resid"], expected["mlp"] = ([(0,), (1,), (2,)], 16), ([(1,), (2,)], 24)
    expected |= {"ffn_out": ([(1,), (2,)], 16), "embedded": ([(0,)], 16), "latents": ([(2,)], 40)}
    assert found == expected
    assert components == list(expected)
    assert layers == [0, 1, 2]
    assert verify(whole.store) == []


def test_components_fit_together(whole: Finished, inputs: Inputs) -> None:
    """BERT without dropout: what the blocks do, done again from the store."""
    model = AutoModel.from_pretrained(inputs.model)
    block = model.encoder.layer[1]
    with tables(whole.store) as read, torch.no_grad():
        got = {
            (name, layer): torch.from_numpy(read.activations(name, layer)[1]).float()
            for name, layer in whole.plan.capture.targets
        }
        torch.testing.assert_close(got["embedded", 0], got["resid", 0])
        torch.testing.assert_close(got["ffn_out", 2], got["resid", 2])
        query = block.attention.self.query(got["resid", 1])
        torch.testing.assert_close(got["query", 2], query, atol=0.02, rtol=0.02)
        attended = block.attention.output.dense(got["head", 2])
        torch.testing.assert_close(got["attn", 2], attended, atol=0.02, rtol=0.02)
        after = block.attention.output.LayerNorm(got["attn", 2] + got["resid", 1])
        mlp = block.intermediate(after)
        torch.testing.assert_close(got["mlp", 2], mlp, atol=0.05, rtol=0.05)
    assert (got["latents", 2] > 0).sum(1).max() <= 8
    assert (got["latents", 2] > 0).any(0).sum() > 10


def test_every_analysis_takes_every_component(whole: Finished) -> None:
    n_neurons = sum(whole.plan.capture.widths[component] for component, _ in whole.plan.capture.targets)
    with tables(whole.store) as read:
        assert read.rows("SELECT count(*) FROM neuron_stats") == [(n_neurons,)]
        for table in ("contexts", "layer_bests"):
            found = read.rows(f"SELECT DISTINCT component FROM {table}")
            assert {name for (name,) in found} == set(whole.plan.capture.components)
        ((mean,),) = read.rows("SELECT mean FROM neuron_stats WHERE component = 'latents' AND neuron = 7")
        ((expected_mean,),) = read.rows(
            "SELECT avg(n0007) FROM activations_latents JOIN rows USING (row_id) WHERE is_counted"
        )
    assert mean == pytest.approx(expected_mean, rel=1e-6)


def test_chosen_layers_and_neurons_are_those_of_the_whole(whole: Finished, few: Inputs, tmp_path: Path) -> None:
    chosen = everything(Path(whole.plan.config.dump.saes[0].path).parent) | {
        "layers": {"resid": [0, 2], "head": [2]},
        "neurons": {"mlp": ["2-4", 20, "21-22"], "latents": ["35-39"], "resid": [0]},
    }
    part = run_stages(few.config(tmp_path / "store", dump=chosen, search={"keep": 3}))
    assert part.plan.run_id != whole.plan.run_id
    assert part.plan.capture.blocks("mlp") == (range(2, 5), range(20, 23))
    kept = {"mlp": [2, 3, 4, 20, 21, 22], "latents": [35, 36, 37, 38, 39], "resid": [0]}
    files = part.store.files("activations", part.plan.run_id, component="mlp", layer=1, shard=0)
    assert [(file.block, file.first_neuron, file.n_neurons) for file in files] == [(0, 2, 3), (1, 20, 3)]
    with tables(part.store) as read, tables(whole.store) as complete:
        columns = [row[0] for row in read.rows("DESCRIBE activations_mlp")]
        assert columns == ["row_id", "model", "layer", *(f"n{n:04d}" for n in kept["mlp"])]
        assert read.rows("SELECT DISTINCT layer FROM activations_resid ORDER BY 1") == [(0,), (2,)]
        assert read.rows("SELECT DISTINCT layer FROM activations_head") == [(2,)]
        for component, layer in part.plan.capture.targets:
            _, expected = complete.activations(component, layer)
            _, found = read.activations(component, layer)
            np.testing.assert_array_equal(found, expected[:, kept.get(component, slice(None))])
            neurons = read.rows(
                "SELECT neuron FROM neuron_stats WHERE component = ? AND layer = ? ORDER BY 1", component, layer
            )
            assert [n for (n,) in neurons] == kept.get(component, list(range(expected.shape[1])))
        query = (
            "SELECT component, layer, neuron, mean, activity_rate FROM neuron_stats "
            "WHERE component = 'mlp' AND neuron IN (2, 3, 4, 20, 21, 22) ORDER BY ALL"
        )
        assert read.rows(query) == complete.rows(query)
        ranked = read.rows("SELECT DISTINCT neuron FROM contexts WHERE component = 'latents' ORDER BY 1")
        assert [n for (n,) in ranked] == kept["latents"]


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_encoder_decoders(few: Inputs, tmp_path: Path, architecture: str) -> None:
    tokenizer = "sentencepiece" if architecture == "t5" else "wordpiece"
    save_model(tmp_path / "half", architecture, tokenizer)
    own = replace(few, model=tmp_path / "half")
    components = ["resid", "decoder_resid", "decoder_mlp", "decoder_cross_attn"]
    sections: dict[str, Any] = {"dump": {"components": components, "rows_per_shard": 150, "dtype": "float32"}}
    sections["search"] = {"round_to": "float16", "keep": 2}
    found = run_stages(own.config(tmp_path / "store", **sections))
    assert verify(found.store) == []
    model = AutoModel.from_pretrained(tmp_path / "half").eval()
    with tables(found.store) as read, torch.no_grad():
        assert {name for (name,) in read.rows("SELECT DISTINCT component FROM contexts")} == set(components)
        tokens = read.rows("SELECT token_id, row_id FROM tokens WHERE sentence_id = 3 ORDER BY row_id")
        ids = torch.tensor([[token for token, _ in tokens]])
        start = torch.tensor([[model.config.decoder_start_token_id]])
        expected = model(
            input_ids=ids, decoder_input_ids=torch.cat([start, ids], 1), output_hidden_states=True, use_cache=False
        )
        rows = [row for _, row in tokens]
        halves = {"resid": expected.encoder_hidden_states, "decoder_resid": expected.decoder_hidden_states}
        for name, states in halves.items():
            for layer in (0, 1):
                row_ids, values = read.activations(name, layer, "half")
                mine = values[np.searchsorted(row_ids, rows)]
                np.testing.assert_allclose(mine, states[layer][0, -len(rows) :].numpy(), rtol=1e-3, atol=1e-4)
    only = plan_only(own.config(tmp_path / "encoder", dump={"rows_per_shard": 150}))
    assert only.plan.capture.components == ("resid", "mlp")
    assert only.plan.row_space == found.plan.row_space


def test_a_packed_dump_agrees_with_an_unpacked_one(few: Inputs, tmp_path: Path) -> None:
    stores = []
    for packing in (False, True):
        settings = {"rows_per_shard": 150, "token_budget": 512, "dtype": "float32", "packing": packing}
        config = few.config(tmp_path / str(packing), dump=settings)
        finished = plan_only(config)
        dump(finished.plan, finished.store, LocalExecutor(), Silent())
        stores.append(finished)
    assert stores[0].plan.run_id != stores[1].plan.run_id
    with tables(stores[0].store) as one, tables(stores[1].store) as other:
        for component, layer in stores[0].plan.capture.targets:
            np.testing.assert_allclose(
                one.activations(component, layer)[1], other.activations(component, layer)[1], rtol=1e-3, atol=1e-4
            )


def test_what_defines_a_component_is_in_the_fingerprint(few: Inputs, tmp_path: Path) -> None:
    base = everything(tmp_path)
    labels = {"include": [{"regex": "the", "name": "the"}]}
    sae = base["saes"][0]
    variants: list[dict[str, Any]] = [
        {},
        {"neurons": {"mlp": [1]}},
        {"layers": [1, 2]},
        {"modules": [{**MODULE, "at": "input", "pattern": "encoder.layer.{layer}.output.dense"}, BEFORE_LAYERS]},
        {"saes": [{**sae, "k": 7}]},
        {"saes": [{**sae, "activation": "relu", "k": None}]},
        {"saes": [{**sae, "layer": 1}]},
        {"packing": False},
    ]
    runs = [
        plan_only(few.config(tmp_path / f"store{i}", dump=base | change, concepts=labels)).plan
        for i, change in enumerate(variants)
    ]
    assert len({plan.fingerprint for plan in runs}) == len(variants)
    tensors = {"W_enc": np.zeros((16, 40), np.float32), "b_enc": np.zeros(40, np.float32)}
    save_file(tensors, tmp_path / "sae.safetensors")
    with pytest.raises(ConfigError, match="planned here with other inputs: saes"):
        plan_only(few.config(tmp_path / "store0", dump=base, concepts=labels))
    with pytest.raises(ModelError, match="has changed since the plan"):
        dump(runs[0], Store.open(str(tmp_path / "store0")), LocalExecutor(), Silent())
    save_sae(tmp_path)
    assert Plan.from_json(runs[1].to_json()) == runs[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": ["decoder_resid"]}, "component 'decoder_resid': architecture 'bert' has no single module"),
        ({"layers": {"mlp": [0]}}, r"dump.layers: mlp: 0 is out of range: .* has layers 1–2"),
        ({"layers": {"attn": [1]}}, r"dump.layers: 'attn' is not in dump.components \(resid, mlp\)"),
        ({"neurons": {"mlp": ["3-24"]}}, "dump.neurons: mlp: 24 is out of range: it has neurons 0–23"),
        ({"neurons": {"head": [1]}}, "dump.neurons: 'head' is not in dump.components"),
        (
            {"components": ["x"], "modules": [{"name": "x", "pattern": "encoder.layers.{layer}"}]},
            "dump.modules: 'x': the model has no module",
        ),
        (
            {"components": ["x"], "saes": [{"name": "x", "path": "/nowhere/x.safetensors", "layer": 1}]},
            "dump.saes: 'x': there is no file /nowhere/x.safetensors",
        ),
        (
            {"components": ["x"], "saes": [{"name": "x", "path": "x", "layer": 9}]},
            "layer 9 of 'resid' is out of range",
        ),
    ],
)
def test_what_the_model_does_not_have_is_refused_at_planning(
    few: Inputs, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        plan_only(few.config(tmp_path / "store", dump=change))


def test_packing_is_refused_where_it_would_be_wrong(few: Inputs, tmp_path: Path) -> None:
    save_model(tmp_path / "bloom", "bloom")
    own = replace(few, model=tmp_path / "bloom")
    with pytest.raises(ConfigError, match=r"dump.packing: architecture 'bloom' takes no packed batches; .* bert, "):
        plan_only(own.config(tmp_path / "store", dump={"packing": True}))
