"""Extraction from folders on disk: rows against a plain forward pass, pooling, determinism, refused values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import save_model

from pipeline.extract.batch import make_batch
from pipeline.extract.extractor import Extractor
from pipeline.extract.model import LoadedModel, load_model
from pipeline.extract.row_table import RowTable
from pipeline.extract.rows import assign_rows
from pipeline.extract.rows_in_memory import RowMemory
from pipeline.extract.sae import Sae, describe_sae, load_sae
from pipeline.extract.sequences import Sequences, build_sequences
from pipeline.extract.storage_dtype import storage_dtype
from pipeline.extract.tokenizer import Encoder
from schemas.components import SaeConfig
from schemas.config import ModelConfig
from schemas.errors import ActivationError, ModelError

TARGETS = [("resid", 0), ("resid", 1), ("resid", 2), ("mlp", 1), ("mlp", 2)]


@dataclasses.dataclass
class Setup:
    config: ModelConfig
    loaded: LoadedModel
    encoder: Encoder

    def sequences(self, unit: str = "token", pooling: str | None = None) -> Sequences:
        encoded = self.encoder.encode(SENTENCES)
        return build_sequences(encoded, [assign_rows(e, unit, pooling) for e in encoded])


def _sentence(text: str) -> tuple[str, list[str], list[tuple[int, int]]]:
    words, spans, at = text.split(), [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return text, words, spans


#: the second has a word longer than a window, the fourth no word
SENTENCES = [
    _sentence("the cat"),
    _sentence("dog abcdefghijklmnopqrst cat the dog"),
    _sentence("cat " * 9 + "dog"),
    ("", [], []),
    _sentence("dog"),
]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    config = save_model(tmp_path_factory.mktemp("bert"))
    loaded = load_model(config, threads=1)
    return Setup(config, loaded, Encoder(config, dataclasses.replace(loaded.info, max_length=12)))


def _extract(
    setup: Setup, sequences: Sequences, pooling: str | None = None, dtype: str = "float32", budget: int = 40
) -> dict:
    return Extractor(setup.loaded, TARGETS, dtype, budget, pooling).extract(sequences)


def test_token_rows_equal_a_forward_pass_of_each_sequence_alone(setup: Setup) -> None:
    sequences = setup.sequences()
    found = _extract(setup, sequences)
    for first, last in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        ids = torch.from_numpy(sequences.token_ids[None, first:last].astype(np.int64))
        with torch.no_grad():
            expected = setup.loaded.module(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in range(3):
            np.testing.assert_allclose(found["resid", layer][first:last], expected[layer][0], rtol=1e-4, atol=1e-5)
    assert found["mlp", 2].shape == (sequences.n_rows, 24)


@pytest.mark.parametrize("unit", ["word", "sentence"])
@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_pooled_rows_equal_pooling_the_token_rows(setup: Setup, unit: str, pooling: str) -> None:
    """Also for a word and sentences whose tokens lie in several windows."""
    tokens = _extract(setup, setup.sequences())
    sequences = setup.sequences(unit, pooling)
    found = _extract(setup, sequences, pooling)
    reduce = np.max if pooling == "max" else np.mean
    for target in TARGETS:
        for row in range(sequences.n_rows):
            expected = reduce(tokens[target][sequences.token_row == row], axis=0)
            np.testing.assert_allclose(found[target][row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("unit", "pooling"), [("token", None), ("word", "mean"), ("sentence", "max")])
def test_same_sequences_same_bits(setup: Setup, unit: str, pooling: str | None) -> None:
    sequences = setup.sequences(unit, pooling)
    again = load_model(setup.config, threads=1)
    for target, rows in _extract(setup, sequences, pooling, "float16").items():
        assert rows.dtype == np.uint16
        other = Extractor(again, [target], "float16", 40, pooling).extract(sequences)[target]
        assert rows.tobytes() == other.tobytes(), "other targets must not change bits either"


@pytest.mark.parametrize(("unit", "pooling"), [("token", None), ("word", "last"), ("word", "mean")])
def test_rows_written_from_gathered_tokens_equal_rows_written_from_a_batch(
    setup: Setup, unit: str, pooling: str | None
) -> None:
    """The GPU path gathers tokens before it writes them; both ways fill the same table."""
    sequences = setup.sequences(unit, pooling)
    members = np.arange(len(sequences.lengths))
    batch = make_batch(sequences, members, 0)
    activations = torch.randn(*batch.input_ids.shape, 16, generator=torch.Generator().manual_seed(0))
    memory, storage = RowMemory(), storage_dtype("float16")
    tables = [RowTable(("resid", 1), [range(16)], storage, pooling, sequences, memory) for _ in range(2)]
    tables[0].write(activations, batch)
    gathered = activations.reshape(-1, 16).index_select(0, batch.source).to(tables[1].staged_dtype)
    tables[1].write_rows(gathered, batch)
    assert tables[0].finish().in_order().tobytes() == tables[1].finish().in_order().tobytes()


def test_rows_are_kept_until_they_are_given_back(setup: Setup) -> None:
    extractor = Extractor(setup.loaded, TARGETS, "float16", 40)
    sequences = setup.sequences()
    first = extractor.capture(sequences)
    expected = {target: rows.in_order() for target, rows in first.items()}
    second = extractor.capture(sequences)
    for target in TARGETS:
        assert not np.shares_memory(first[target].bits, second[target].bits)
        assert np.array_equal(first[target].in_order(), expected[target])
        extractor.memory.give_back(first[target])
    third = extractor.capture(sequences)
    for target in TARGETS:
        assert any(np.shares_memory(first[target].bits, rows.bits) for rows in third.values())
        assert np.array_equal(second[target].in_order(), expected[target])
        assert np.array_equal(third[target].in_order(), expected[target])


def test_rows_that_were_never_written_are_no_rows(setup: Setup) -> None:
    sequences = setup.sequences()
    table = RowTable(("mlp", 2), [range(16)], storage_dtype("float16"), None, sequences, RowMemory())
    batch = make_batch(sequences, np.arange(2), 0)
    table.write(torch.zeros(*batch.input_ids.shape, 16), batch)
    with pytest.raises(ActivationError, match=r"mlp layer 2: the forward pass gave \d+ of \d+ rows"):
        table.finish()


def test_padding_may_hold_anything(setup: Setup) -> None:
    sequences = setup.sequences()
    batch = make_batch(sequences, np.arange(len(sequences.lengths)), 0)
    table = RowTable(("resid", 1), [range(16)], storage_dtype("float16"), None, sequences, RowMemory())
    activations = torch.full((*batch.input_ids.shape, 16), float("nan"))
    activations[batch.attention_mask.bool()] = 1.5
    table.write(activations, batch)
    assert (table.finish().in_order().view(np.float16) == 1.5).all()


def test_a_smaller_budget_gives_the_same_rows_up_to_rounding(setup: Setup) -> None:
    sequences = setup.sequences()
    one, many = _extract(setup, sequences, budget=1), _extract(setup, sequences, budget=10_000)
    for target in TARGETS:
        np.testing.assert_allclose(one[target], many[target], rtol=1e-4, atol=1e-5)


def test_out_of_memory_halves_the_budget_until_the_batches_fit(setup: Setup) -> None:
    sequences = setup.sequences()
    longest = int(sequences.lengths.max())
    sizes: list[int] = []

    def full(limit: int) -> Callable[..., None]:
        def check(module: torch.nn.Module, args: object, kwargs: dict[str, torch.Tensor]) -> None:
            sizes.append(kwargs["input_ids"].numel())
            if sizes[-1] > limit:
                raise torch.OutOfMemoryError("no memory for that")

        return check

    extractor = Extractor(setup.loaded, TARGETS, "float32", 8 * longest, packing=False)
    hook = setup.loaded.module.register_forward_pre_hook(full(2 * longest), with_kwargs=True)
    try:
        found = extractor.extract(sequences)
    finally:
        hook.remove()
    assert extractor.token_budget_used == 2 * longest < max(sizes)
    expected = Extractor(setup.loaded, TARGETS, "float32", 2 * longest, packing=False).extract(sequences)
    for target in TARGETS:
        assert found[target].tobytes() == expected[target].tobytes()
    extractor.extract(sequences)
    assert extractor.token_budget_used == 8 * longest, "the next shard starts with the plan's"
    hook = setup.loaded.module.register_forward_pre_hook(full(1), with_kwargs=True)
    try:
        with pytest.raises(ModelError, match=f"does not suffice for one sequence of {longest} tokens"):
            extractor.extract(sequences)
    finally:
        hook.remove()


def test_no_rows(setup: Setup) -> None:
    encoded = setup.encoder.encode([("", [], [])])
    sequences = build_sequences(encoded, [assign_rows(e, "word", "mean") for e in encoded])
    assert {rows.shape for rows in _extract(setup, sequences, "mean").values()} == {(0, 16), (0, 24)}


def test_arguments_are_untouched(setup: Setup) -> None:
    sequences = setup.sequences()
    before = sequences.token_ids.copy(), sequences.token_row.copy()
    _extract(setup, sequences)
    np.testing.assert_array_equal(before[0], sequences.token_ids)
    np.testing.assert_array_equal(before[1], sequences.token_row)


@pytest.mark.parametrize(("unit", "pooling"), [("token", None), ("word", "last"), ("word", "mean"), ("word", "max")])
@pytest.mark.parametrize(("value", "message"), [(1e6, "overflows float16"), (float("nan"), "the model produced nan")])
def test_values_that_cannot_be_stored_name_their_neuron(
    tmp_path: Path, unit: str, pooling: str | None, value: float, message: str
) -> None:
    config = save_model(tmp_path, "llama", "sentencepiece")
    loaded = load_model(config, threads=1)
    with torch.no_grad():
        loaded.module.layers[0].mlp.up_proj.weight[7] = value
    encoded = Encoder(config, loaded.info).encode(SENTENCES)
    sequences = build_sequences(encoded, [assign_rows(e, unit, pooling) for e in encoded])
    with pytest.raises(ActivationError, match=rf"mlp layer 1 neuron 7: .*{message}"):
        Extractor(loaded, [("resid", 0), ("mlp", 1)], "float16", 64, pooling).extract(sequences)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (("mlp", 0), "has layers 1 to 2"),
        (("resid", 3), "has layers 0 to 2"),
        (("decoder_attn", 1), "component 'decoder_attn'"),
    ],
)
def test_targets_the_model_does_not_have_are_errors(setup: Setup, target: tuple[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Extractor(setup.loaded, [target], "float16", 64)


def test_chosen_neurons_are_the_columns_of_the_whole(setup: Setup) -> None:
    sequences = setup.sequences("word", "mean")
    whole = _extract(setup, sequences, "mean")
    neurons = {"mlp": (range(2, 5), range(20, 24)), "resid": (range(15, 16),)}
    found = Extractor(setup.loaded, TARGETS, "float32", 40, "mean", neurons=neurons).extract(sequences)
    for target in TARGETS:
        columns = [n for piece in neurons[target[0]] for n in piece]
        assert found[target].tobytes() == np.ascontiguousarray(whole[target][:, columns]).tobytes()


def test_an_overflow_is_named_by_the_neuron_s_number_in_the_layer(tmp_path: Path) -> None:
    config = save_model(tmp_path, "llama", "sentencepiece")
    loaded = load_model(config, threads=1)
    with torch.no_grad():
        loaded.module.layers[0].mlp.up_proj.weight[7] = 1e6
    encoded = Encoder(config, loaded.info).encode(SENTENCES)
    sequences = build_sequences(encoded, [assign_rows(e, "token", None) for e in encoded])
    with pytest.raises(ActivationError, match=r"mlp layer 1 neuron 7: "):
        Extractor(loaded, [("mlp", 1)], "float16", 64, neurons={"mlp": (range(2), range(6, 9))}).extract(sequences)
    Extractor(loaded, [("mlp", 1)], "float16", 64, neurons={"mlp": (range(2),)}).extract(sequences)


def _sae(folder: Path) -> Sae:
    rng = np.random.default_rng(0)
    tensors = {"W_enc": rng.normal(size=(16, 40)), "b_enc": rng.normal(size=40), "b_dec": rng.normal(size=16)}
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, folder / "sae.safetensors")
    config = SaeConfig(name="latents", path=str(folder / "sae.safetensors"), layer=1)
    return load_sae(config, describe_sae(config, 16), torch.device("cpu"))


@pytest.mark.parametrize(("unit", "pooling"), [("token", None), ("word", "last"), ("word", "mean")])
def test_latents_are_read_from_a_component_that_need_not_be_dumped(
    setup: Setup, tmp_path: Path, unit: str, pooling: str | None
) -> None:
    """A pooled row is the mean of its tokens' latents, not the latents of their mean."""
    sae = _sae(tmp_path)
    tokens = _extract(setup, setup.sequences())["resid", 1]
    sequences = setup.sequences(unit, pooling)
    extractor = Extractor(setup.loaded, [("latents", 1)], "float32", 40, pooling, saes=[sae])
    found = extractor.extract(sequences)
    assert list(found) == [("latents", 1)]
    latents = sae.latents(torch.from_numpy(tokens)).numpy()
    for row in range(sequences.n_rows):
        expected = latents[sequences.token_row == row].mean(axis=0)
        np.testing.assert_allclose(found["latents", 1][row], expected, rtol=1e-3, atol=1e-4)
    kept = {"latents": (range(3, 9),)}
    both = Extractor(setup.loaded, [*TARGETS, ("latents", 1)], "float32", 40, pooling, saes=[sae], neurons=kept)
    again = both.extract(sequences)
    assert again["latents", 1].tobytes() == np.ascontiguousarray(found["latents", 1][:, 3:9]).tobytes()
    assert len(again) == len(TARGETS) + 1


def test_several_components_and_layers_take_one_pass_that_ends_with_the_last(setup: Setup, tmp_path: Path) -> None:
    passes: list[int] = []
    blocks: list[int] = []
    bert = setup.loaded.module
    handles = [bert.embeddings.register_forward_hook(lambda *_: passes.append(1))]
    handles += [b.register_forward_hook(lambda *_, n=n: blocks.append(n)) for n, b in enumerate(bert.encoder.layer)]
    targets = [
        ("resid", 0),
        ("attn", 1),
        ("head", 1),
        ("query", 1),
        ("key", 1),
        ("value", 1),
        ("mlp", 1),
        ("latents", 1),
    ]
    sequences = setup.sequences()
    Extractor(setup.loaded, targets, "float32", 10_000, saes=[_sae(tmp_path)]).extract(sequences)
    for handle in handles:
        handle.remove()
    assert passes == [1]
    assert blocks == [0]


GPU_TARGETS = [*TARGETS, *((c, n) for c in ("attn", "head", "query", "key", "value") for n in (1, 2))]


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ["bert", "gpt_neox", "t5", "bart"])
@pytest.mark.parametrize("packing", [False, True])
def test_gpu_gives_every_component(tmp_path: Path, architecture: str, packing: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, this machine has none")
    config = save_model(tmp_path, architecture)
    on_cpu = load_model(config, threads=1)
    on_gpu = load_model(config.model_copy(update={"device": "cuda"}))
    if packing and not on_cpu.info.is_packable:
        pytest.skip(f"{architecture} takes no packed batches")
    sae = _sae(tmp_path)
    moved = dataclasses.replace(sae, **{name: getattr(sae, name).cuda() for name in ("w_enc", "b_enc", "b_dec")})
    decoder = [(f"decoder_{c}", n) for c, n in GPU_TARGETS] if on_cpu.info.start_token_id is not None else []
    targets = [*GPU_TARGETS, *decoder, ("latents", 1)]
    neurons = {"mlp": (range(3), range(9, 20)), "latents": (range(5, 7),)}
    encoded = Encoder(config, on_cpu.info).encode(SENTENCES)
    sequences = build_sequences(encoded, [assign_rows(e, "word", "mean") for e in encoded])
    options = {"neurons": neurons, "packing": packing}
    expected = Extractor(on_cpu, targets, "float32", 40, "mean", saes=[sae], **options).extract(sequences)
    found = Extractor(on_gpu, targets, "float32", 40, "mean", saes=[moved], **options).extract(sequences)
    for target in targets:
        np.testing.assert_allclose(found[target], expected[target], rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_gpu_rows_agree_with_cpu_rows_and_repeat_bit_for_bit(setup: Setup) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, this machine has none")
    on_gpu = load_model(setup.config.model_copy(update={"device": "cuda"}))
    for unit, pooling in (("token", None), ("word", "last"), ("word", "mean")):
        sequences = setup.sequences(unit, pooling)
        expected = _extract(setup, sequences, pooling)
        found = Extractor(on_gpu, TARGETS, "float32", 40, pooling).extract(sequences)
        again = Extractor(on_gpu, TARGETS, "float32", 40, pooling).extract(sequences)
        for target in TARGETS:
            np.testing.assert_allclose(found[target], expected[target], rtol=1e-3, atol=1e-4)
            assert found[target].tobytes() == again[target].tobytes()


@pytest.mark.gpu
def test_gpu_overflow_names_the_value(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, this machine has none")
    config = save_model(tmp_path, "llama", "sentencepiece").model_copy(update={"device": "cuda"})
    loaded = load_model(config)
    with torch.no_grad():
        loaded.module.layers[0].mlp.up_proj.weight[7] = 1e6
    encoded = Encoder(config, loaded.info).encode(SENTENCES)
    sequences = build_sequences(encoded, [assign_rows(e, "token", None) for e in encoded])
    with pytest.raises(ActivationError, match=r"mlp layer 1 neuron 7: value -?\d.* overflows float16"):
        Extractor(loaded, [("mlp", 1)], "float16", 64).extract(sequences)
