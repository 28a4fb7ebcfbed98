"""The pilot: real batches of the plan, a forecast of the right size, and nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_run import Inputs

from pipeline.extract.sequences import Sequences, make_batches, select_sequences, with_rows
from pipeline.run.dump import dump
from pipeline.run.dump_files import scales_stage
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.pilot import forecast, spread_batches, tune_token_budget
from pipeline.run.planning import plan_run
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.config import Config


def random_sequences(rng, n=400):
    lengths = rng.integers(1, 40, n)
    n_tokens = int(lengths.sum())
    token_row = np.arange(n_tokens)
    token_row[rng.random(n_tokens) < 0.2] = -1
    rows, numbered = np.unique(token_row, return_inverse=True)
    return Sequences(
        token_ids=rng.integers(0, 1000, n_tokens).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        token_row=numbered.astype(np.int64) - 1,
        n_rows=len(rows) - 1,
    )


def test_selected_sequences_keep_their_tokens_and_number_their_rows_anew():
    sequences = random_sequences(np.random.default_rng(0))
    members = np.array([7, 3, 399, 0])
    chosen = select_sequences(sequences, members)
    expected = [sequences.token_ids[sequences.offsets[m] : sequences.offsets[m + 1]] for m in members]
    assert np.array_equal(chosen.token_ids, np.concatenate(expected))
    old = np.concatenate([sequences.token_row[sequences.offsets[m] : sequences.offsets[m + 1]] for m in members])
    assert np.array_equal(chosen.token_row < 0, old < 0)
    assert chosen.n_rows == len(np.unique(old[old >= 0]))
    order = np.argsort(old[old >= 0])
    assert np.array_equal(chosen.token_row[old >= 0][order], np.arange(chosen.n_rows))


def test_spread_batches_are_batches_of_the_whole():
    sequences = random_sequences(np.random.default_rng(1))
    whole = {tuple(sequences.lengths[batch]) for batch in make_batches(sequences.lengths, 256)}
    part = spread_batches(sequences, 256, 5)
    batches = make_batches(part.lengths, 256)
    assert len(batches) == 5
    assert all(tuple(part.lengths[batch]) in whole for batch in batches[:-1])
    assert spread_batches(sequences, 256, 10**6).n_rows == sequences.n_rows


def test_a_forecast_measures_the_dump_and_leaves_nothing(inputs: Inputs, tmp_path):
    config = Config.model_validate(inputs.data(tmp_path / "store"))
    store = Store.create(config.store)
    plan = plan_run(config, store, LocalExecutor(), Silent())
    before = sorted(store.storage.list("receipts")), store.manifest().number
    found = forecast(plan, store)
    assert (sorted(store.storage.list("receipts")), store.manifest().number) == before
    assert {path.split("/")[1] for path in store.storage.list("staging")} <= {"locks"}
    n_bytes = dump(plan, store, LocalExecutor(), Silent())
    assert found.n_bytes == pytest.approx(n_bytes, rel=0.25)
    assert 0 < found.startup_seconds < found.seconds
    assert found.rows_per_second > 0
    assert 50e6 < found.memory_per_worker < 4e9


def test_a_tuned_token_budget_is_measured_once_and_frozen(inputs: Inputs, tmp_path):
    config = Config.model_validate(inputs.data(tmp_path / "store", dump={"token_budget": "auto"}))
    store = Store.create(config.store)
    plan = plan_run(config, store, LocalExecutor(), Silent())
    budget, rates = tune_token_budget(plan, store)
    assert budget in rates
    assert all(rate > 0 for rate in rates.values())
    again = plan_run(config, store, LocalExecutor(), Silent())
    assert again.capture == plan.capture == load_plan(store).capture


def test_a_forecast_of_a_sample_in_8_bits(inputs: Inputs, tmp_path):
    """Sentences without a row are not timed, and the store's scales are not needed yet."""
    smaller = {"dtype": "int8", "sample": {"share": 0.3}}
    config = Config.model_validate(inputs.data(tmp_path / "store", dump=smaller))
    store = Store.create(config.store)
    plan = plan_run(config, store, LocalExecutor(), Silent())
    found = forecast(plan, store)
    assert store.receipts(scales_stage(plan)) == {}
    assert found.n_bytes == pytest.approx(dump(plan, store, LocalExecutor(), Silent()), rel=0.25)


def test_sequences_with_rows_keep_all_rows():
    sequences = random_sequences(np.random.default_rng(2))
    sequences.token_row[sequences.offsets[5] : sequences.offsets[6]] = -1
    kept = np.unique(sequences.token_row[sequences.token_row >= 0], return_inverse=True)[1]
    token_row = np.full(len(sequences.token_row), -1)
    token_row[sequences.token_row >= 0] = kept
    fewer = Sequences(sequences.token_ids, sequences.offsets, token_row, int(kept.max()) + 1)
    has_row = [bool((token_row[a:b] >= 0).any()) for a, b in zip(fewer.offsets[:-1], fewer.offsets[1:], strict=True)]
    run = with_rows(fewer)
    assert not has_row[5]
    assert (run.n_rows, len(run.lengths)) == (fewer.n_rows, sum(has_row))
    assert np.array_equal(run.token_row[run.token_row >= 0], token_row[token_row >= 0])
