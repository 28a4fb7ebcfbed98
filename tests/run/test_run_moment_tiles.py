"""Co-moments of all neurons by tiles: equal to numpy's correlation, the same bits however they were folded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_model
from tiny_run import Finished, Inputs, plan_only, tables, write_corpus

from pipeline.run import moment_tiles
from pipeline.run.alignment import Alignment, align
from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.member_rows import Member
from pipeline.run.moment_tiles import MomentTiles, TileJob, TileTask, TileWorker, block_size, fold_tiles, tiles_stage
from pipeline.run.neuron_blocks import NeuronAxis, neuron_blocks
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.row_norms import fold_norms
from pipeline.run.work import Executor
from pipeline.stats import device_products
from pipeline.stats.device_products import DeviceProducts
from pipeline.store.store import Store
from schemas.analysis_config import ClusterConfig
from schemas.errors import ConfigError, CorpusError, IncompleteError


def tile_job(
    store: Store, members: tuple[Member, ...], alignment: Alignment, *, size: int = 13, **settings: Any
) -> TileJob:
    """Of the members' neurons above layer 0, by small blocks."""
    blocks = tuple(
        block
        for number, member in enumerate(members)
        for block in neuron_blocks(number, member.plan, lambda component, layer: layer > 0, size)
    )
    given = {"precision": "float64", "null": None, "place": ("cpu", "float32")} | settings
    stage = tiles_stage(members, blocks, alignment, **given)
    return TileJob(store.url, stage, members, blocks, alignment, **given)


def folded(
    store: Store,
    members: tuple[Member, ...],
    alignment: Alignment,
    executor: Executor | None = None,
    **settings: Any,
) -> MomentTiles:
    """All tiles of :func:`tile_job`."""
    job = tile_job(store, members, alignment, **settings)
    pairs = [(a, b) for a in range(len(job.blocks)) for b in range(a, len(job.blocks))]
    return fold_tiles(store, executor or LocalExecutor(), Silent(), job, pairs)


def folded_alone(found: Finished, executor: Executor | None = None, **settings: Any) -> MomentTiles:
    member = Member.alone(found.store, found.plan)
    return folded(found.store, (member,), Alignment.alone(member), executor, **settings)


def whole(tiles: MomentTiles) -> np.ndarray:
    """Co-moments (N, N)."""
    every = range(tiles.axis.n_neurons)
    return tiles.co_moments(every, every)


def values_of(store: Store, axis: NeuronAxis, model: str, where: str) -> np.ndarray:
    """(N, T) of the rows for which ``where`` holds, read through SQL; a member's neurons."""
    with tables(store) as read:
        wanted = [row for (row,) in read.rows(f"SELECT row_id FROM rows WHERE {where} ORDER BY row_id")]
        parts = []
        for _, component, layer in axis.layers:
            row_ids, values = read.activations(component, layer, model)
            parts.append(values[np.isin(row_ids, wanted)].T)
    return np.concatenate(parts)


def co_moments(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred @ centred.T


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Finished:
    """The session's store once more, for tiles of one's own."""
    shutil.copytree(finished.store.url, tmp_path / "store")
    return Finished(Store.open(str(tmp_path / "store")), finished.plan)


def test_tiles_equal_numpy_on_the_counted_rows(copy: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment_tiles, "CHUNK", 250)  # shards of 600 rows and less
    tiles = folded_alone(copy)
    assert len(tiles.axis.blocks) > 3
    x = values_of(copy.store, tiles.axis, "tiny", "is_counted")
    assert (tiles.n_rows, tiles.axis.n_neurons) == (x.shape[1], len(x))
    np.testing.assert_allclose(whole(tiles), co_moments(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tiles.mean, x.mean(axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tiles.m2, co_moments(x).diagonal(), rtol=1e-9)
    rough = folded_alone(copy, precision="float32")
    scale = np.sqrt(np.outer(tiles.m2, tiles.m2))
    assert np.abs((whole(rough) - whole(tiles)) / scale).max() < 1e-6
    a, b = range(3, 41), range(20, 70)
    np.testing.assert_array_equal(tiles.co_moments(a, b), whole(tiles)[3:41, 20:70])
    np.testing.assert_array_equal(tiles.co_moments(b, a), tiles.co_moments(a, b).T)


def test_neurons_are_named_in_order(copy: Finished) -> None:
    plan = copy.plan
    blocks = neuron_blocks(0, plan, lambda component, layer: component == "mlp", 33)
    axis = NeuronAxis(tuple(blocks))
    width = plan.capture.widths["mlp"]
    assert axis.n_neurons == width * len(plan.capture.layers["mlp"])
    sizes = [len(found) for found in axis.ranges]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 33
    columns = axis.columns([plan], np.arange(axis.n_neurons))
    expected = [(layer, n) for layer in plan.capture.layers["mlp"] for n in range(width)]
    assert list(zip(columns["layer"].tolist(), columns["neuron"].tolist(), strict=True)) == expected
    assert axis.of_layer(1) == range(width, 2 * width)
    assert neuron_blocks(0, plan, lambda *_: False, 33) == []


def test_local_processes_ray_and_resumed_runs_give_the_same_bits(
    copy: Finished, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = folded_alone(copy, precision="float32")
    for name, executor in (("spawn", LocalExecutor(2)), ("ray", RayExecutor(workers=2))):
        shutil.copytree(copy.store.url, tmp_path / name, ignore=shutil.ignore_patterns("tiles-*"))
        other = Finished(Store.open(str(tmp_path / name)), copy.plan)
        np.testing.assert_array_equal(whole(folded_alone(other, executor, precision="float32")), whole(expected))
    shutil.copytree(copy.store.url, tmp_path / "resumed", ignore=shutil.ignore_patterns("tiles-*"))
    resumed = Finished(Store.open(str(tmp_path / "resumed")), copy.plan)
    process, done = TileWorker.process, []

    def fails(self: TileWorker, task: TileTask, attempt: int) -> dict[str, Any]:
        if len(done) == 2:
            raise MemoryError("gone")
        done.append(task.key)
        return process(self, task, attempt)

    monkeypatch.setattr(TileWorker, "process", fails)
    with pytest.raises(IncompleteError, match="gone"):
        folded_alone(resumed, precision="float32")
    redone: list[str] = []
    monkeypatch.setattr(TileWorker, "process", lambda s, t, a: (redone.append(t.key), process(s, t, a))[1])
    again = folded_alone(resumed, precision="float32")
    assert not set(done) & set(redone)
    np.testing.assert_array_equal(whole(again), whole(expected))
    monkeypatch.setattr(TileWorker, "process", lambda *_: pytest.fail("a finished tile is folded again"))
    folded_alone(resumed, precision="float32")


def test_blocks_fit_the_memory(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    assert block_size([finished.plan], 512) == moment_tiles.MAX_BLOCK
    assert 12 * block_size([finished.plan], 64) ** 2 <= 64 * 2**20 < 13 * block_size([finished.plan], 64) ** 2
    longest = max(shard.n_rows for shard in finished.plan.shards)
    monkeypatch.setattr(moment_tiles, "ROWS_BYTES", 100 * (8 * longest + 12 * moment_tiles.CHUNK))
    assert block_size([finished.plan], 512) == 100


@pytest.fixture(scope="module")
def two_models(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Finished]:
    """Two models in one store, whose tokens differ, the second with rows of some words only."""
    folder = tmp_path_factory.mktemp("two")
    save_model(folder / "other", "gpt2", "byte_level")
    first = plan_only(inputs.config(folder / "store"))
    dump(first.plan, first.store, LocalExecutor(), Silent())
    sections = {"model": {"name": str(folder / "other")}, "dump": {"sample": {"share": 0.8, "seed": 1}}}
    config = inputs.config(folder / "store", **sections)
    plan = plan_run(config, first.store, LocalExecutor(), Silent())
    dump(plan, first.store, LocalExecutor(), Silent())
    return first, Finished(first.store, plan)


def common_words(found: tuple[Finished, ...]) -> tuple[set[int], list[set[int]]]:
    """Words that all models have a counted row for, and those of each."""
    sets = []
    for one in found:
        with tables(one.store) as read:
            rows = read.rows(f"SELECT DISTINCT word_id FROM rows WHERE is_counted AND {own_rows(one)}")
        sets.append({word for (word,) in rows})
    return set.intersection(*sets), sets


def own_rows(found: Finished) -> str:
    """A condition for the rows of a model's row space."""
    first, last = found.plan.shards[0], found.plan.shards[-1]
    return f"row_id BETWEEN {first.first_row} AND {last.first_row + last.n_rows - 1}"


def aligned_values(found: tuple[Finished, ...], tiles: MomentTiles) -> list[np.ndarray]:
    """(N, T) of each model over the last token of every common word."""
    words = ", ".join(map(str, sorted(common_words(found)[0])))
    parts = []
    for number, one in enumerate(found):
        axis = NeuronAxis(tuple(block for block in tiles.axis.blocks if block.member == number))
        last = f"SELECT max(row_id) FROM rows WHERE is_counted AND {own_rows(one)} AND word_id IN ({words})"
        where = f"row_id IN ({last} GROUP BY word_id)"
        parts.append(values_of(one.store, axis, one.plan.model, where))
    return parts


def test_models_are_aligned_word_by_word(two_models: tuple[Finished, Finished]) -> None:
    first, second = two_models
    members = tuple(Member.of_words(found.store, found.plan) for found in two_models)
    alignment, counts = align(first.store, members, Silent())
    common, sets = common_words(two_models)
    assert (counts.n_aligned, counts.n_words) == (len(common), tuple(map(len, sets)))
    assert 100 < counts.n_aligned == counts.n_words[1] < counts.n_words[0]
    assert second.plan.model != first.plan.model
    tiles = folded(first.store, members, alignment, null=3)
    xs = aligned_values(two_models, tiles)
    np.testing.assert_allclose(whole(tiles), co_moments(np.concatenate(xs)), rtol=1e-9, atol=1e-9)
    a, b = tiles.axis.of_member(0), tiles.axis.of_member(1)
    order = null_rows(alignment, first)
    shuffled = co_moments(np.concatenate([xs[0], xs[1][:, order]]))
    np.testing.assert_allclose(tiles.co_moments(a, b, "null"), shuffled[: len(a), len(a) :], atol=1e-8)


def null_rows(alignment: Alignment, lead: Finished) -> np.ndarray:
    """The order of all rows that the null of seed 3 takes."""
    sizes = [sum(len(units) for _, units in alignment.places(lead.store, s)[0]) for s in lead.plan.shards]
    starts = np.cumsum([0, *sizes])
    orders = [moment_tiles.null_order(n, 3, s) for n, s in zip(sizes, lead.plan.shards, strict=True)]
    return np.concatenate([start + order for start, order in zip(starts, orders, strict=False)])


def test_row_norms_equal_those_of_the_values(two_models: tuple[Finished, Finished]) -> None:
    first, _ = two_models
    members = tuple(Member.of_words(found.store, found.plan) for found in two_models)
    alignment, _ = align(first.store, members, Silent())
    tiles = folded(first.store, members, alignment, null=3)
    job = tile_job(first.store, members, alignment, null=3)
    norms = fold_norms(first.store, LocalExecutor(), Silent(), job, tiles)
    x = np.concatenate(aligned_values(two_models, tiles))
    squares = (x - x.mean(axis=1, keepdims=True)) ** 2
    q = np.stack([squares[tiles.axis.layer_of == layer].sum(axis=0) for layer in range(len(tiles.axis.layers))])
    np.testing.assert_allclose(norms.sums, q.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(norms.products, q @ q.T, rtol=1e-9)
    np.testing.assert_allclose(norms.null, q @ q[:, null_rows(alignment, first)].T, rtol=1e-9)


def test_stores_of_the_same_documents_in_another_order_are_aligned_by_name(
    inputs: Inputs, tmp_path: Path, finished: Finished
) -> None:
    """The second store begins with other documents and has shards of another size."""
    config = inputs.config(
        tmp_path / "turned",
        corpus={
            "sources": [
                {"path": str(inputs.test), "split": "test"},
                {"path": str(inputs.train), "split": "train"},
            ]
        },
        dump={"rows_per_shard": 200, "token_budget": 128},
    )
    other = plan_only(config)
    dump(other.plan, other.store, LocalExecutor(), Silent())
    copy = tmp_path / "lead"
    shutil.copytree(finished.store.url, copy)
    lead = Store.open(str(copy))
    members = (Member.of_words(lead, finished.plan), Member.of_words(other.store, other.plan))
    alignment, counts = align(lead, members, Silent())
    assert counts.n_words[0] == counts.n_words[1] == counts.n_aligned > 500
    tiles = folded(lead, members, alignment)
    n = len(tiles.axis.of_member(0))
    # the same model on the same words: a neuron is itself, up to what another batch does to its last bits
    r = whole(tiles)[:n, n:] / np.sqrt(np.outer(tiles.m2[:n], tiles.m2[n:]))
    assert r.diagonal().min() > 0.9999
    assert (np.abs(r).argmax(axis=1) == np.arange(n)).all()


def test_corpora_without_a_common_word_are_refused_with_the_counts(
    inputs: Inputs, tmp_path: Path, finished: Finished
) -> None:
    train, test = write_corpus(tmp_path / "corpus", 3, 2, seed=9)
    for path in (train, test):
        path.write_text(path.read_text(encoding="utf-8").replace("newdoc id = ", "newdoc id = x-"), encoding="utf-8")
    apart = Inputs(train, test, inputs.model)
    other = plan_only(apart.config(tmp_path / "apart"))
    dump(other.plan, other.store, LocalExecutor(), Silent())
    shutil.copytree(finished.store.url, tmp_path / "lead")
    lead = Store.open(str(tmp_path / "lead"))
    members = (Member.of_words(lead, finished.plan), Member.of_words(other.store, other.plan))
    with pytest.raises(CorpusError, match=r"0 words aligned; of tiny [\d,]+ .*unaligned.*share documents"):
        align(lead, members, Silent())


def test_sentences_have_no_words_to_align(finished: Finished, inputs: Inputs, tmp_path: Path) -> None:
    config = inputs.config(tmp_path / "sentences", dump={"unit": "sentence", "token_budget": 128})
    found = plan_only(config)
    with pytest.raises(ConfigError, match="rows are sentences"):
        Member.of_words(found.store, found.plan)


def test_tiles_of_a_gpu_are_of_a_stage_of_their_own(copy: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the processor by torch where there is no GPU: the same co-moments to rounding."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(device_products, "require_device", lambda _: None)
        monkeypatch.setattr(device_products, "DeviceProducts", lambda state, _, how: DeviceProducts(state, "cpu", how))
    here = folded_alone(copy, precision="float32")
    for arithmetic, error in (("float32", 1e-6), ("bf16x3", 2.0**-15), ("tf32", 2.0**-10)):
        there = folded_alone(copy, precision="float32", place=("cuda", arithmetic))
        assert {r.stage for r in there.receipts.values()}.isdisjoint(r.stage for r in here.receipts.values())
        difference = (whole(there) - whole(here)) / np.sqrt(np.outer(here.m2, here.m2))
        assert np.abs(difference).max() <= error


def test_arithmetic_goes_with_a_gpu() -> None:
    with pytest.raises(ValueError, match="goes with `device: cuda`"):
        ClusterConfig(arithmetic="tf32")
    with pytest.raises(ValueError, match="goes with `device: cuda`"):
        ClusterConfig(arithmetic="tf32", device="cuda", precision="float64")
