"""Smaller dumps end to end: what is stored equals a rule applied to a full dump, and all that reads it agrees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from tiny_run import Finished, checksums, plan_only, run_stages, tables

from pipeline.extract.int8_codes import choose_scales
from pipeline.extract.row_sample import is_drawn
from pipeline.run import scales
from pipeline.run.dump import dump
from pipeline.run.dump_files import scales_stage
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.planning import plan_run
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.ray_executor import RayExecutor
from pipeline.store.paths import state_file
from pipeline.store.publish import publish
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.config import Config
from schemas.errors import ActivationError
from schemas.tables import QUANTILES

TARGETS = (("resid", 0), ("resid", 1), ("mlp", 1))
LAYERS = {"layers": [0, 1]}
MODES = {
    "topk": {"mode": "topk", "k": 3},
    "topk of all": {"mode": "topk", "k": 1000, "dtype": "float32"},
    "threshold": {"mode": "threshold", "threshold": 0.4, "dtype": "bfloat16"},
    "int8": {"dtype": "int8"},
}


@pytest.fixture(scope="module")
def full(inputs, tmp_path_factory) -> dict[tuple[str, int], np.ndarray]:
    """What the model computes: float32 (T, N) per target, from a dense dump."""
    found = plan_only(inputs.config(tmp_path_factory.mktemp("full") / "store", dump={"dtype": "float32", **LAYERS}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    with tables(found.store) as read:
        return {target: read.activations(*target)[1].astype(np.float32) for target in TARGETS}


@dataclass(frozen=True)
class Small:
    """A finished smaller store, and what it should hold: float64 (T, N) per target."""

    mode: str
    found: Finished
    expected: dict[tuple[str, int], np.ndarray]


@pytest.fixture(scope="module", params=sorted(MODES))
def small(request, inputs, full, tmp_path_factory) -> Small:
    """A store of every mode after all stages."""
    search = {"round_to": "bfloat16"} if MODES[request.param].get("dtype") == "float32" else {}
    found = run_stages(
        inputs.config(
            tmp_path_factory.mktemp("small") / "store", dump={**MODES[request.param], **LAYERS}, search=search
        )
    )
    if request.param == "int8":
        steps = stored_scales(found)
        expected = {target: multiples(x, steps[target]) for target, x in full.items()}
    else:
        rounded = {target: x.astype(np.float64) for target, x in full.items()}
        if request.param == "topk":
            rounded = {target: x.astype(np.float16).astype(np.float64) for target, x in full.items()}
        if request.param == "threshold":
            rounded = {target: to_bfloat16(x) for target, x in full.items()}
        expected = {target: reduced(x, MODES[request.param]) for target, x in rounded.items()}
    return Small(request.param, found, expected)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Nearest bfloat16, ties to even, as float64."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16) << np.uint64(16)
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


def reduced(x: np.ndarray, mode: dict[str, Any]) -> np.ndarray:
    """The rule, by a sort of every row."""
    kept = np.zeros_like(x)
    for row, values in enumerate(x):
        if mode["mode"] == "topk":
            chosen = np.lexsort((np.arange(len(values)), -np.abs(values)))[: mode["k"]]
        else:
            chosen = np.flatnonzero(np.abs(values) > mode["threshold"])
        kept[row, chosen] = values[chosen]
    return kept


def multiples(x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Nearest multiple of each neuron's step up to 127 times."""
    return np.clip(np.rint(x.astype(np.float64) / steps), -127, 127) * steps


def stored_scales(found: Finished) -> dict[tuple[str, int], np.ndarray]:
    """Scales (N,) per target, float64."""
    table = found.store.read_table(found.store.receipts(scales_stage(found.plan))["pilot"].files).to_pandas()
    return {
        (component, layer): part.sort_values("neuron")["scale"].to_numpy(np.float64)
        for (component, layer), part in table.groupby(["component", "layer"])
    }


def read_values(store, component: str, layer: int, shape: tuple[int, int]) -> np.ndarray:
    """(T, N) float64 of one layer by SQL, whatever the layout."""
    with tables(store) as read:
        if not store.files("activations", component=component)[0].is_sparse:
            return read.activations(component, layer)[1]
        found = read.query(f"SELECT row_id, neuron, value FROM sparse_{component} WHERE layer = ?", layer)
    dense = np.zeros(shape)
    dense[found["row_id"], found["neuron"]] = found["value"]
    return dense


@pytest.mark.parametrize(("component", "layer"), TARGETS)
def test_sql_reads_the_rule_applied_to_a_full_dump(small, component, layer):
    expected = small.expected[component, layer]
    np.testing.assert_array_equal(read_values(small.found.store, component, layer, expected.shape), expected)


def test_the_reader_gives_the_same_values(small):
    reader = small.found.store.activation_reader()
    for (component, layer), expected in small.expected.items():
        entries = small.found.store.files("activations", component=component, layer=layer)
        parts = [reader.read_block(entry) for entry in entries]
        kinds = {reader.dtype(entry) for entry in entries}
        assert kinds == {small.found.plan.capture.value_dtype}
        found = np.concatenate(parts, axis=1)
        bits = found.astype(np.uint32) << np.uint32(16)
        floats = {"float16": found.view(np.float16), "bfloat16": bits.view(np.float32), "float32": found}[kinds.pop()] \
            if found.dtype == np.uint16 else found  # fmt: skip
        np.testing.assert_array_equal(floats.T.astype(np.float64), expected)


def test_the_manifest_states_rule_and_loss(small, full):
    rule = {"topk": "topk 3", "topk of all": "topk 1000", "threshold": "threshold 0.4", "int8": "int8"}[small.mode]
    for shard in small.found.plan.shards:
        rows = slice(shard.first_row, shard.first_row + shard.n_rows)
        for (component, layer), expected in small.expected.items():
            (entry,) = small.found.store.files("activations", component=component, layer=layer, shard=shard.shard)
            x, kept = full[component, layer][rows].astype(np.float64), expected[rows]
            if small.mode == "topk":
                x = x.astype(np.float16).astype(np.float64)
            if small.mode == "threshold":
                x = to_bfloat16(full[component, layer][rows])
            assert (entry.rule, entry.n_rows) == (rule, shard.n_rows)
            assert entry.loss == pytest.approx(((x - kept) ** 2).sum() / (x**2).sum(), rel=1e-5, abs=1e-15)
            assert entry.n_values == (None if small.mode == "int8" else np.count_nonzero(kept))
            assert entry.neurons == range(kept.shape[1])
    with tables(small.found.store) as read:
        assert read.rows("SELECT rule, sample FROM runs") == [(rule, None)]
        counts = read.rows("SELECT sum(n_values), sum(n_clipped) FROM shards")
        params = read.rows("SELECT DISTINCT params FROM rankings WHERE method = 'auroc'")
    n_values = sum(np.count_nonzero(expected) for expected in small.expected.values())
    assert all(json.loads(text)["stored"] == rule for (text,) in params)
    assert load_plan(small.found.store) == small.found.plan
    assert counts == [(None, 0)] if small.mode == "int8" else counts == [(n_values, None)]


def test_statistics_equal_numpy(small):
    with tables(small.found.store) as read:
        counted = np.array([row[0] for row in read.rows("SELECT is_counted FROM rows ORDER BY row_id")])
        for (component, layer), expected in small.expected.items():
            found = read.query(
                "SELECT * FROM neuron_stats WHERE component = ? AND layer = ? ORDER BY neuron", component, layer
            )
            x = expected[counted]
            for name, wanted in (
                ("mean", x.mean(0)),
                ("variance", x.var(0)),
                ("max", x.max(0)),
                ("activity_rate", (x > 0).mean(0)),
                *((name, np.quantile(x, level, axis=0)) for name, level in QUANTILES.items()),
            ):
                np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-12, err_msg=name)


def test_search_and_contexts_equal_numpy(small):
    with tables(small.found.store) as read:
        rows = read.rows("SELECT is_counted AND split = 'train', row_id, is_counted FROM rows ORDER BY row_id")
        train, row_ids = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        counted = np.array([row[2] for row in rows])
        y = read.labels(row_ids)["upos=NUM"]
        best = read.rows(
            "SELECT component, layer, neuron, sign, score FROM rankings "
            "WHERE concept = 'upos=NUM' AND method = 'ap' AND rank <= 5"
        )
        top = read.rows("SELECT component, layer, neuron, row_id, value FROM contexts WHERE tail = 'top' AND rank = 1")
    assert len(best) == 5
    for component, layer, neuron, sign, score in best:
        x = sign * small.expected[component, layer][train, neuron]
        if small.mode == "topk of all":
            x = to_bfloat16(x.astype(np.float32))
        assert score == pytest.approx(average_precision_score(y[train], x), abs=1e-9)
    assert len(top) == sum(expected.shape[1] for expected in small.expected.values())
    for component, layer, neuron, row_id, value in top:
        x = np.where(counted, small.expected[component, layer][:, neuron], -np.inf)
        assert (row_id, value) == (np.argmax(x), x.max())


def test_verify_and_publish(small):
    assert verify(small.found.store) == []
    assert publish(small.found.store)


def test_scales_come_from_the_largest_values_of_the_pilot(inputs, full, tmp_path, monkeypatch):
    """A pilot of few rows: values beyond it are clipped, counted and part of the loss."""
    monkeypatch.setattr(scales, "PILOT_ROWS", 40)
    found = plan_only(inputs.config(tmp_path / "store", dump={"dtype": "int8", **LAYERS}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    (receipt,) = found.store.receipts(scales_stage(found.plan)).values()
    assert receipt.files[0].path == state_file(found.plan.run_id, "scales.parquet")
    with tables(found.store) as read:
        sentence = np.array([row[0] for row in read.rows("SELECT sentence_id FROM rows ORDER BY row_id")])
    share = 40 / len(sentence)
    while (pilot := is_drawn(share, 0, sentence)).sum() < 20:
        share *= 2
    assert receipt.facts["n_rows"] == pilot.sum() < 1000
    table = found.store.read_table(receipt.files).to_pandas()
    np.testing.assert_array_equal(choose_scales(table["largest"].to_numpy()), table["scale"])
    n_clipped = 0
    for target, steps in stored_scales(found).items():
        x = full[target].astype(np.float64)
        np.testing.assert_array_equal(read_values(found.store, *target, x.shape), multiples(full[target], steps))
        largest = table[(table["component"] == target[0]) & (table["layer"] == target[1])]["largest"].to_numpy()
        # the pilot's batches are others, which changes a last bit here and there
        np.testing.assert_allclose(largest, np.abs(x[pilot]).max(axis=0), rtol=1e-4)
        n_clipped += int((np.abs(np.rint(x / steps)) > 127).sum())
    assert n_clipped > 0
    assert sum(entry.n_clipped for entry in found.store.files("activations")) == n_clipped
    with tables(found.store) as read:
        assert read.rows("SELECT sum(n_clipped) FROM shards") == [(n_clipped,)]


def test_a_neuron_beyond_8_bits_is_refused_by_its_number_in_the_layer(inputs, tmp_path):
    config = Config.model_validate(inputs.data(tmp_path / "store", dump={"neurons": {"mlp": ["3-4"]}}))
    capture = plan_run(config, Store.create(config.store), LocalExecutor(), Silent()).capture
    largest = {("mlp", 3): np.array([1.0, 65024.0], np.float32)}
    scales.refuse_overflow(largest, capture)
    largest["mlp", 4] = np.array([1.0, 65100.0], np.float32)
    with pytest.raises(ActivationError, match="mlp layer 4 neuron 4: value 65100 is beyond int8"):
        scales.refuse_overflow(largest, capture)


def test_int8_of_some_neurons_is_that_of_the_whole_layer(inputs, tmp_path):
    stores = []
    for name, neurons in (("whole", None), ("some", {"mlp": ["3-4", "9"]})):
        config = Config.model_validate(
            inputs.data(tmp_path / name, dump={"dtype": "int8", "components": ["mlp"], "neurons": neurons})
        )
        store = Store.create(config.store)
        plan = plan_run(config, store, LocalExecutor(), Silent())
        dump(plan, store, LocalExecutor(), Silent())
        stores.append((store, plan))
    (whole, _), (some, plan) = stores
    for entry in some.files("activations"):
        (other,) = whole.files("activations", layer=entry.layer, shard=entry.shard)
        block = whole.activation_reader().read_block(other, entry.neurons)
        assert np.array_equal(some.activation_reader().read_block(entry), block)
    assert {entry.neurons for entry in some.files("activations")} == {range(3, 5), range(9, 10)}


@pytest.mark.slow  # two processes and Ray load the model
def test_int8_is_the_same_from_two_processes_and_when_redone(inputs, tmp_path):
    config = {"dump": {"dtype": "int8", **LAYERS}}
    undisturbed = plan_only(inputs.config(tmp_path / "one", **config))
    dump(undisturbed.plan, undisturbed.store, LocalExecutor(), Silent())
    before = checksums(tmp_path / "one")
    two = plan_only(inputs.config(tmp_path / "two", **config))
    dump(two.plan, two.store, LocalExecutor(2), Silent())
    assert checksums(tmp_path / "two") == before
    scale = state_file(two.plan.run_id, "scales.parquet")
    assert (tmp_path / "one" / scale).read_bytes() == (tmp_path / "two" / scale).read_bytes()
    # as if the scales and half of the shards had been lost
    (tmp_path / "two/receipts" / scales_stage(two.plan) / "pilot.json").unlink()
    for shard in two.plan.shards[::2]:
        (tmp_path / f"two/receipts/dump-{two.plan.run_id}/{shard.key}.json").unlink()
        for file in (tmp_path / "two/activations").rglob(f"{shard.key}.parquet"):
            file.unlink()
    dump(two.plan, two.store, LocalExecutor(), Silent())
    assert checksums(tmp_path / "two") == before


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["topk", "int8"])
def test_ray_writes_the_same(inputs, tmp_path, ray_cluster, mode):
    for name, executor in (("local", LocalExecutor()), ("ray", RayExecutor(2))):
        found = plan_only(inputs.config(tmp_path / name, dump={**MODES[mode], **LAYERS}))
        dump(found.plan, found.store, executor, Silent())
    assert checksums(tmp_path / "ray") == checksums(tmp_path / "local")


def test_empty_shards_and_single_rows(inputs, tmp_path):
    """One row a shard; a token that no word belongs to makes a shard without rows."""
    corpus = tmp_path / "few.conllu"
    words = ("dog", "\u200d", "cat")
    corpus.write_text("\n".join(f"1\t{w}\t{w}\tNOUN\t_\t_\t0\troot\t_\t_\n" for w in words), encoding="utf-8")
    for mode, settings in MODES.items():
        found = plan_only(
            inputs.config(
                tmp_path / mode.replace(" ", "-"),
                corpus={"sources": [str(corpus)]},
                dump={"unit": "word", "rows_per_shard": 1, **settings, **LAYERS},
                concepts={"include": [{"words": ["dog"], "name": "dog"}]},
            )
        )
        dump(found.plan, found.store, LocalExecutor(), Silent())
        assert sorted(shard.n_rows for shard in found.plan.shards)[:1] == [1] or found.plan.n_rows == 2
        assert verify(found.store) == []
        with tables(found.store) as read:
            assert read.rows("SELECT sum(n_rows) FROM shards") == [(2,)]
