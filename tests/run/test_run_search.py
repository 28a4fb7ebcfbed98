"""Search end to end: the rankings equal scikit-learn on the values that a reader of the store gets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny_run import run_stages, tables

from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.progress import Silent
from schemas.errors import ConceptError

METHODS = ("ap", "auroc", "iou", "best_iou", "mean_diff")
KEYS = "component, layer, neuron, concept, method, score, sign, heldout_score, n_rows, n_pos, threshold, params"


def splits(read, row_ids):
    """Masks of the counted train and test rows."""
    rows = read.rows("SELECT row_id, split, is_counted FROM rows")
    found = {row: (split, counted) for row, split, counted in rows}
    train = np.array([found[row] == ("train", True) for row in row_ids.tolist()])
    test = np.array([found[row] == ("test", True) for row in row_ids.tolist()])
    return train, test


def both_ways(score, y, x):
    """The larger of score(x) and score(−x), and the sign."""
    up, down = score(y, x), score(y, -x)
    return (up, 1) if up >= down - 1e-12 else (down, -1)


@pytest.fixture(scope="module", params=["float16", "bfloat16", "float32", "float32 rounded"])
def searched(request, inputs, tmp_path_factory):
    """A finished store of each dtype; the float16 one is the session's reference."""
    if request.param == "float16":
        return request.getfixturevalue("finished"), None
    dtype, _, rounded = request.param.partition(" ")
    config = inputs.config(
        tmp_path_factory.mktemp(dtype) / "store",
        dump={"dtype": dtype, "layers": [1]},
        search={"keep": "all", **({"round_to": "float16"} if rounded else {})},
    )
    return run_stages(config), np.float16 if rounded else None


def test_scores_equal_scikit_learn_on_train_and_heldout_on_test(searched):
    found, rounding = searched
    rng = np.random.default_rng(4)
    with tables(found.store) as read:
        row_ids, values = read.activations("mlp", 1)
        train, test = splits(read, row_ids)
        labels = read.labels(row_ids)
        x = values if rounding is None else values.astype(rounding).astype(np.float64)
        ranked = {
            (neuron, concept, method): rest
            for _, _, neuron, concept, method, *rest in read.rows(
                f"SELECT {KEYS} FROM rankings WHERE component = 'mlp' AND layer = 1"
            )
        }
    concepts = sorted({concept for _, concept, _ in ranked})
    assert {"upos=NOUN", "upos=NUM", "early", "long"} <= set(concepts)
    for _ in range(30):
        neuron, concept = int(rng.integers(x.shape[1])), str(rng.choice(concepts))
        y, s = labels[concept], x[:, neuron]
        for method, oracle in (("ap", average_precision_score), ("auroc", roc_auc_score)):
            score, sign, heldout, n_rows, n_pos, _, params = ranked[neuron, concept, method]
            expected, direction = both_ways(oracle, y[train], s[train])
            assert score == pytest.approx(expected, abs=1e-9)
            assert sign == direction
            if y[test].any():
                assert heldout == pytest.approx(oracle(y[test], sign * s[test]), abs=1e-9)
            else:
                assert heldout is None
            assert (n_rows, n_pos) == (train.sum(), y[train].sum())
            assert json.loads(params).get("rounded") == ("float16" if rounding else None)
        score, sign, heldout, *_ = ranked[neuron, concept, "mean_diff"]
        v = values[:, neuron]  # means are of the stored values, rounded or not
        difference = v[train & y].mean() - v[train & ~y].mean()
        assert score == pytest.approx(abs(difference), rel=1e-6, abs=1e-9)
        assert sign == (1 if difference >= 0 else -1)
        score, sign, heldout, _, _, threshold, _ = ranked[neuron, concept, "best_iou"]
        predicted = sign * s >= sign * threshold
        overlap = (predicted & y)[train].sum() / (predicted | y)[train].sum()
        assert score == pytest.approx(overlap, abs=1e-12)
        score, sign, heldout, _, _, threshold, _ = ranked[neuron, concept, "iou"]
        assert threshold == pytest.approx(sign * np.quantile(sign * s[train], 0.995), rel=1e-6)
        predicted = sign * s > sign * threshold
        assert score == pytest.approx((predicted & y)[train].sum() / (predicted | y)[train].sum(), abs=1e-12)
        if y[test].any():
            assert heldout == pytest.approx((predicted & y)[test].sum() / (predicted | y)[test].sum(), abs=1e-12)


def test_every_neuron_is_ranked_once_in_order(finished):
    with tables(finished.store) as read:
        ranked = read.rows(
            "SELECT concept, method, rank, score, component, layer, neuron FROM rankings ORDER BY concept, method, rank"
        )
        n_concepts = len({row[0] for row in ranked})
        assert len(ranked) == n_concepts * len(METHODS) * (3 * 16 + 2 * 24)
        for start in range(0, len(ranked), 96):
            group = ranked[start : start + 96]
            assert len({row[:2] for row in group}) == 1
            assert [row[2] for row in group] == list(range(1, 97))
            order = [(-np.inf if row[3] is None else row[3], row[4:]) for row in group]
            assert order == sorted(order, key=lambda item: (-item[0], item[1]))
        bests = read.rows(
            "SELECT b.score, max(r.score) FROM layer_bests b JOIN rankings r USING (concept, method, component, layer) "
            "GROUP BY b.score, component, layer, concept, method"
        )
        assert bests
        assert all(best == top for best, top in bests)


def test_special_and_wordless_rows_never_count(finished):
    with tables(finished.store) as read:
        assert read.rows("SELECT count(*) FROM rows WHERE is_special") != [(0,)]
        assert read.rows("SELECT count(*) FROM rows WHERE is_counted AND (is_special OR word_id IS NULL)") == [(0,)]
        assert read.rows("SELECT count(*) FROM labels JOIN rows USING (row_id) WHERE NOT is_counted") == [(0,)]
        ((counted, train),) = read.rows("SELECT count(*), count(*) FILTER (split = 'train') FROM rows WHERE is_counted")
        assert read.rows("SELECT DISTINCT n_rows FROM neuron_stats") == [(counted,)]
        assert read.rows("SELECT DISTINCT n_rows FROM rankings") == [(train,)]
        assert read.rows("SELECT count(*) FROM contexts JOIN rows USING (row_id) WHERE NOT is_counted") == [(0,)]


def test_labels_are_the_words_annotations(finished):
    with tables(finished.store) as read:
        for concept, condition in (
            ("upos=NOUN", "upos = 'NOUN'"),
            ("early", "regexp_full_match(word, '[a-d].*')"),
            ("long", "length(word) > 4"),
        ):
            wanted = f"SELECT row_id FROM rows JOIN words USING (word_id) WHERE is_counted AND {condition} ORDER BY 1"
            assert read.rows("SELECT row_id FROM labels WHERE concept = ? ORDER BY 1", concept) == read.rows(wanted)
            assert read.rows("SELECT n_rows FROM concepts WHERE concept = ?", concept) == [(len(read.rows(wanted)),)]
            assert read.rows("SELECT n_words FROM concepts WHERE concept = ?", concept) == read.rows(
                f"SELECT count(*) FROM words WHERE {condition}"
            )


def test_a_corpus_without_splits_is_searched_whole(inputs, tmp_path):
    found = run_stages(
        inputs.config(
            tmp_path / "store",
            corpus={"sources": [str(inputs.train)]},
            dump={"layers": [1], "components": ["resid"]},
            search={"methods": ["ap"], "keep": 3, "concepts": ["upos=NOUN"]},
        )
    )
    with tables(found.store) as read:
        row_ids, values = read.activations("resid", 1)
        counted = np.array([row[0] for row in read.rows("SELECT is_counted FROM rows ORDER BY row_id")])
        y = read.labels(row_ids)["upos=NOUN"]
        ranked = read.rows("SELECT neuron, score, sign, split, heldout_score FROM rankings ORDER BY rank")
    scores = [both_ways(average_precision_score, y[counted], values[counted, n])[0] for n in range(16)]
    assert [row[0] for row in ranked] == np.argsort(-np.array(scores), kind="stable")[:3].tolist()
    for neuron, score, _, split, heldout in ranked:
        assert score == pytest.approx(scores[neuron], abs=1e-9)
        assert (split, heldout) == ("all", None)


def test_unknown_concepts_and_too_few_positives_are_refused(finished):
    for change, message in (
        ({"concepts": ("upos=NOUNS",)}, "'upos=NOUNS' is not a concept"),
        ({"min_positives": 10**6}, "none of 9 concepts has 1000000 positive rows"),
    ):
        config = finished.plan.config
        plan = finished.plan.with_config(config.model_copy(update={"search": config.search.model_copy(update=change)}))
        with pytest.raises(ConceptError, match=message):
            search(plan, finished.store, LocalExecutor(), Silent())
