"""Sampled rows: those of a full dump that the hash draws, bit for bit, whatever cuts, kills or models there are."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tiny_models import save_model
from tiny_run import checksums, plan_only, run_stages, tables

from pipeline.extract.row_sample import is_drawn
from pipeline.run import ingest
from pipeline.run.dump import dump, open_extractor, read_sequences
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.store.verify import verify
from schemas.errors import ConfigError

SEED = 7
#: One sentence a batch, so that leaving sentences out changes no bit of the others.
ALONE = {"layers": [1], "token_budget": 1}
KEY = "sentence_id, word_id, window, position"


def dumped(config):
    """A store with its dump and its statistics."""
    found = plan_only(config)
    dump(found.plan, found.store, LocalExecutor(), Silent())
    compute_statistics(found.plan, found.store, LocalExecutor(), Silent())
    return found


def rows_of(read) -> list[tuple]:
    """Per row, in order: what it is of, as far as all tokenisations and cuts agree; whether it counts."""
    return read.rows(
        "SELECT r.sentence_id, r.word_id, min(w.position), min(t.window), min(t.position), any_value(r.is_counted) "
        "FROM rows r JOIN tokens t USING (row_id) LEFT JOIN words w ON w.word_id = r.word_id "
        "GROUP BY r.row_id, r.sentence_id, r.word_id ORDER BY r.row_id"
    )


@pytest.fixture(scope="module", params=["token", "word"])
def full(request, inputs, tmp_path_factory):
    """The unit, the rows and the values (T, N) of everything."""
    dump_all = {"unit": request.param, **ALONE}
    found = dumped(inputs.config(tmp_path_factory.mktemp("full") / "store", dump=dump_all))
    with tables(found.store) as read:
        values = {component: read.activations(component, 1)[1] for component in ("resid", "mlp")}
        return request.param, rows_of(read), values


def drawn(rows: list[tuple], share: float, by: str) -> np.ndarray:
    """Mask over the rows of a full dump, row by row."""
    kept, in_sentence, last = [], 0, None
    for sentence, _, place, *_ in rows:
        in_sentence = in_sentence + 1 if sentence == last else 0
        last = sentence
        key = -1 - in_sentence if place is None else place
        keys = [sentence] if by == "sentence" else [sentence, key]
        kept.append(is_drawn(share, SEED, *(np.array([k]) for k in keys))[0])
    return np.array(kept)


@pytest.mark.parametrize(("share", "by"), [(0.25, "row"), (0.3, "sentence")])
def test_a_sample_is_a_part_of_the_full_dump(full, inputs, tmp_path, share, by):
    unit, every, values = full
    kept = drawn(every, share, by)
    assert 0.5 * share < kept.mean() < 2 * share
    sample = {"share": share, "by": by, "seed": SEED}
    found = dumped(inputs.config(tmp_path / "store", dump={"unit": unit, "sample": sample, **ALONE}))
    with tables(found.store) as read:
        chosen = rows_of(read)
        assert chosen == [row for row, is_kept in zip(every, kept, strict=True) if is_kept]
        counted = np.array([row[-1] for row in chosen])
        for component, of_all in values.items():
            row_ids, some = read.activations(component, 1)
            assert row_ids.tolist() == list(range(len(chosen)))
            np.testing.assert_array_equal(some, of_all[kept])
            query = "SELECT mean, variance, min, max FROM neuron_stats WHERE component = ? ORDER BY neuron"
            stats = read.query(query, component)
            x = of_all[kept][counted]
            for name, expected in (("mean", x.mean(0)), ("variance", x.var(0)), ("min", x.min(0)), ("max", x.max(0))):
                np.testing.assert_allclose(stats[name], expected, rtol=1e-9, atol=1e-12)
        assert read.rows("SELECT sample FROM runs") == [(f"{share:g} by {by}, seed {SEED}",)]
        assert read.rows("SELECT count(*) FROM tokens WHERE row_id IS NULL")[0][0] > 0
    assert verify(found.store) == []


def test_other_cuts_and_kills_draw_the_same_rows(inputs, tmp_path):
    sample = {"sample": {"share": 0.3, "seed": SEED}}
    found = [
        plan_only(inputs.config(tmp_path / str(size), dump={"rows_per_shard": size, **sample})) for size in (600, 120)
    ]
    assert len(found[0].plan.shards) < len(found[1].plan.shards)
    rows = []
    for one in found:
        with tables(one.store) as read:
            rows.append(rows_of(read))
    assert rows[0] == rows[1]
    # as if the plan had been killed after its second shard
    store, plan = tmp_path / "120", found[1].plan
    before = checksums(store)
    for shard in plan.shards[2:]:
        (store / f"receipts/rows-{plan.row_space}/{shard.key}.json").unlink()
        (store / f"receipts/corpus/{shard.key}.json").unlink()
    (store / "corpus-complete.json").unlink(missing_ok=True)
    shutil.rmtree(store / "tokens")
    for shard in plan.shards[:2]:
        (store / f"receipts/rows-{plan.row_space}/{shard.key}.json").unlink()
    again = plan_only(inputs.config(store, dump={"rows_per_shard": 120, **sample}))
    assert again.plan.shards == plan.shards
    assert checksums(store) == before


def test_a_model_with_another_tokenisation_gets_the_same_words(inputs, tmp_path):
    save_model(tmp_path / "gpt", "gpt2", "byte_level")
    sample = {"sample": {"share": 0.3, "seed": SEED}, "rows_per_shard": 600}
    first = plan_only(inputs.config(tmp_path / "store", dump=sample))
    other = {"name": str(tmp_path / "gpt"), "alias": "second"}
    second = plan_only(inputs.config(tmp_path / "store", model=other, dump=sample))
    assert first.plan.row_space != second.plan.row_space
    with tables(first.store) as read:
        words = [
            read.rows(f"SELECT DISTINCT word_id FROM rows WHERE is_counted AND row_id {side} ORDER BY 1")
            for side in ("< 1099511627776", ">= 1099511627776")
        ]
        no_token = read.rows("SELECT word_id FROM words WHERE word = '\u200d'")
    assert words[0]
    assert [word for word in words[1] if word not in no_token] == words[0]


def test_sentences_without_a_row_are_not_run(inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store", dump={"sample": {"share": 0.02, "seed": SEED}, **ALONE}))
    extractor = open_extractor(found.plan)
    lengths: list[int] = []
    extractor.loaded.module.register_forward_pre_hook(
        lambda _module, _args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    n_with_row = 0
    for shard in found.plan.shards:
        sequences = read_sequences(found.store, found.plan, shard)
        extractor.extract(sequences)
        n_with_row += sum(
            (sequences.token_row[start:stop] >= 0).any()
            for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        )
    assert 0 < len(lengths) == n_with_row < 60


def test_all_stages_on_a_sample(inputs, tmp_path):
    found = run_stages(
        inputs.config(tmp_path / "store", dump={"sample": {"share": 0.4, "by": "sentence"}, "layers": [1]})
    )
    assert load_plan(found.store) == found.plan
    with tables(found.store) as read:
        (params,) = read.rows("SELECT DISTINCT params FROM rankings WHERE method = 'ap'")
        assert '"sample": "0.4 by sentence, seed 0"' in params[0]
        n_rows = read.rows("SELECT DISTINCT n_rows FROM rankings WHERE method = 'ap'")
        assert n_rows == read.rows("SELECT count(*) FROM rows WHERE is_counted AND split = 'train'")
        ((n_neurons,),) = read.rows("SELECT count(*) FROM neuron_stats")
        assert read.rows("SELECT count(*) FROM contexts") == [(n_neurons * 2 * 4,)]
        # the rare word is in no drawn sentence: its concept is listed, and nothing is searched for it
        assert read.rows("SELECT n_rows > 0, n_words FROM concepts WHERE concept = 'upos=X'") == [(False, 1)]
        assert read.rows("SELECT count(*) FROM rankings WHERE concept = 'upos=X'") == [(0,)]


def test_a_sample_of_nothing_is_refused(inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"dump\.sample: 1e-09 by row, seed 0 draws none of the corpus' rows; raise"):
        plan_only(inputs.config(tmp_path / "store", dump={"sample": {"share": 1e-9}}))


def test_shards_end_at_a_number_of_tokens_too(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "TOKENS_PER_SHARD", 300)
    found = plan_only(inputs.config(tmp_path / "store", dump={"sample": {"share": 0.1}, "rows_per_shard": 1000}))
    assert len(found.plan.shards) > 10
    assert max(shard.n_tokens for shard in found.plan.shards) <= 300
