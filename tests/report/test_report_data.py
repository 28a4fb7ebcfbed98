"""What the page shows is what the tables say."""

from __future__ import annotations

import json
import math

import duckdb
import pytest
from report_store import KEPT, RUN, make_store

from pipeline.report.figures import anchors, page_figures, quantile_strip
from pipeline.report.neuron_cards import SELECTED, NeuronCard, Statistics
from pipeline.report.report_data import ReportData, load_report_data
from schemas.errors import UsageError


@pytest.fixture(scope="module")
def store() -> duckdb.DuckDBPyConnection:
    return make_store(12, undefined=("upos=VERB",))


@pytest.fixture(scope="module")
def data(store: duckdb.DuckDBPyConnection) -> ReportData:
    return load_report_data(store, neurons_per_concept=3, contexts_per_neuron=4)


def test_run_corpus_and_methods(data: ReportData) -> None:
    assert (data.run.run_id, data.run.dtype, data.run.components) == (RUN, "float16", ("resid", "mlp"))
    assert data.run.config["corpus"]["sources"][0]["path"].endswith("lee_background.cor")
    assert [(s.split, s.n_documents) for s in data.splits] == [("train", 2), ("test", 2)]
    assert [r.method.method for r in data.results] == ["ap", "auroc", "iou", "best_iou", "mean_diff"]
    assert {r.method.n_kept for r in data.results} == {KEPT}
    assert [(c.component, c.layer) for c in data.columns] == [("resid", i) for i in range(7)] + [
        ("mlp", i) for i in range(1, 7)
    ]


def test_concepts_come_best_first_and_undefined_last(data: ReportData) -> None:
    scores = [data.primary.best[c.concept].score for c in data.concepts]
    defined = [s for s in scores if s is not None]
    assert defined == sorted(defined, reverse=True)
    assert data.concepts[-1].concept == "upos=VERB"
    assert scores[-1] is None
    assert "upos=VERB" not in data.cards
    assert "upos=VERB" not in data.primary.cells


def test_cells_are_the_best_of_each_layer(store: duckdb.DuckDBPyConnection, data: ReportData) -> None:
    n_unkept = 0
    for result in data.results:
        expected = store.execute(
            "select concept, component, layer, neuron, score from layer_bests where isfinite(score) and method = ?",
            [result.method.method],
        ).fetchall()
        ranks = {
            tuple(key): rank
            for *key, rank in store.execute(
                "select concept, component, layer, neuron, rank from rankings where method = ?", [result.method.method]
            ).fetchall()
        }
        cells = [(name, c.neuron.component, c.neuron.layer, c) for name, cells in result.cells.items() for c in cells]
        assert sorted((*place, c.neuron.neuron, c.score) for *place, c in cells) == sorted(expected)
        assert all(c.rank == ranks.get((*place, c.neuron.neuron)) for *place, c in cells)
        n_unkept += sum(c.rank is None for *_, c in cells)
    assert n_unkept


def test_selected_counts_places_and_distinct_neurons(store: duckdb.DuckDBPyConnection, data: ReportData) -> None:
    places = data.primary.selected.values()
    assert sum(n for n, _ in places) == SELECTED * (len(data.concepts) - 1)
    distinct = "select count(distinct (component, layer, neuron)) from rankings where method = 'ap' and rank <= ?"
    [[n]] = store.execute(distinct + " and score is not null", [SELECTED]).fetchall()
    assert sum(m for _, m in places) == n


def test_cards_are_the_first_neurons_with_the_tail_of_their_sign(data: ReportData) -> None:
    cards = [card for found in data.cards.values() for card in found]
    assert {len(found) for found in data.cards.values()} == {3}
    assert {card.sign for card in cards} == {1, -1}
    for name, found in data.cards.items():
        assert [card.rank for card in found] == [1, 2, 3]
        assert found[0].neuron == data.primary.best[name].neuron
        assert [card.score for card in found] == sorted((card.score for card in found), reverse=True)
    for card in cards:
        assert len(card.contexts) == 4
        values = [c.value for c in card.contexts]
        assert values == sorted(values, key=lambda v: -v * card.sign)
        assert all(v * card.sign > 0 for v in values)
        assert all(len(c.words) == len(c.values) for c in card.contexts)
        assert card.scale == max(abs(v) for c in card.contexts for v in c.values if v is not None)
        assert [m.name for m in card.other_methods] == ["auroc", "iou", "best_iou", "mean_diff"]


def test_other_concepts_are_those_that_select_the_neuron(data: ReportData) -> None:
    shared = [(name, card) for name, found in data.cards.items() for card in found if card.other_concepts]
    assert shared
    for name, card in shared:
        assert name not in [c.name for c in card.other_concepts]
        assert all(c.rank <= SELECTED for c in card.other_concepts)


def test_a_word_of_several_tokens_is_one_context() -> None:
    store = make_store(2)
    store.execute(
        "insert into contexts select * replace (rank + 1 as rank, row_id + 1 as row_id) from contexts where rank = 1"
    )
    cards = load_report_data(store, contexts_per_neuron=5).cards
    for card in (card for found in cards.values() for card in found):
        assert len({(c.document, c.sentence) for c in card.contexts}) == len(card.contexts) == 5


def test_sentence_unit_has_no_focus() -> None:
    cards = load_report_data(make_store(2, unit="sentence")).cards
    contexts = [c for found in cards.values() for card in found for c in card.contexts]
    assert contexts
    assert all(c.focus is None and set(c.values) == {None} for c in contexts)


def test_without_average_precision_the_first_method_leads() -> None:
    data = load_report_data(make_store(3, methods=("iou", "auroc")))
    assert data.primary.method.method == "auroc"
    assert all(len(found) == 3 for found in data.cards.values())


def test_one_method_under_two_parameters_is_two_methods() -> None:
    store = make_store(2, methods=("iou",))
    store.execute("insert into rankings select * replace ('{\"alpha\": 0.01}' as params) from rankings")
    data = load_report_data(store)
    assert [r.method.label for r in data.results] == ["iou alpha=0.005", "iou alpha=0.01"]


def test_not_a_number_is_undefined_as_null_is() -> None:
    store = make_store(2)
    store.execute("update rankings set score = 'nan' where concept = 'upos=DET'; update rankings set q_value = 'nan'")
    data = load_report_data(store)
    assert data.primary.best["upos=DET"].score is None
    assert data.cards["upos=NUM"][0].q_value is None
    json.dumps(page_figures(data, anchors(c.concept for c in data.concepts)), allow_nan=False)


def test_contexts_and_statistics_may_be_missing() -> None:
    store = make_store(2)
    store.execute("delete from contexts; delete from neuron_stats; delete from concepts; delete from documents")
    data = load_report_data(store)
    assert [card.contexts for card in data.cards["upos=NUM"]] == [(), (), ()]
    assert data.cards["upos=NUM"][0].statistics is None
    assert data.columns
    assert data.concepts[0].definition is None


def test_which_run() -> None:
    store = make_store(1)
    with pytest.raises(
        UsageError, match=rf"run_id 'nope' has no rankings in this store; it has minilm-l6 \(run {RUN}\)"
    ):
        load_report_data(store, run_id="nope")
    for table in ("runs", "rankings"):
        store.execute(f"insert into {table} select * replace ('ffff' as run_id) from {table}")
    both = rf"minilm-l6 \(run {RUN}\), minilm-l6 \(run ffff\)"
    with pytest.raises(UsageError, match=f"rankings of 2 runs: {both}; choose one with --model"):
        load_report_data(store)
    assert load_report_data(store, run_id="ffff").run.run_id == "ffff"
    store.execute("delete from rankings")
    with pytest.raises(UsageError, match="run `neuronmill search` first"):
        load_report_data(store)


def test_splits_count_sentences_and_only_whole_documents() -> None:
    """Documents 0 to 3 of two sentences each; document 1 is cut between splits, document 3 has none."""
    store = make_store(1)
    store.execute("update sentences set split = case sentence_id when 2 then 'train' when 3 then 'dev' "
                  "when 6 then null when 7 then null else split end")  # fmt: skip
    store.execute("update documents set split = null where document_id in (1, 3)")
    splits = load_report_data(store).splits
    assert [(s.split, s.n_documents, s.n_sentences) for s in splits] == [
        ("train", 2, 5),
        ("dev", 0, 1),
        (None, 1, 2),
    ]
    [[n_words]] = store.execute("select sum(n_words) from sentences").fetchall()
    assert sum(s.n_words for s in splits) == n_words
    store.execute("update sentences set split = null")
    assert [(s.split, s.n_documents, s.n_sentences) for s in load_report_data(store).splits] == [(None, 4, 8)]


def test_figures_hold_every_cell_and_best_neuron(data: ReportData) -> None:
    figures = page_figures(data, anchors(c.concept for c in data.concepts))
    assert json.loads(json.dumps(figures, allow_nan=False)) is not None
    methods, columns, concepts = figures["methods"], figures["columns"], figures["concepts"]
    assert isinstance(methods, list)
    assert isinstance(columns, list)
    assert isinstance(concepts, list)
    for method, result in zip(methods, data.results, strict=True):
        assert len(method["cells"]) == sum(map(len, result.cells.values()))
        assert len(method["best"]) == len(concepts)
        assert method["best"][-1] is None
        assert len(method["places"]) == len(columns)
        for concept, best in zip(data.concepts[:-1], method["best"], strict=False):
            component, layer, _ = columns[best[0]]
            assert result.best[concept.concept].neuron == (component, layer, best[1])


def test_quantile_strip() -> None:
    statistics = Statistics(0.0, 1.0, -2.0, (-2, -1, 0, 1, 2, 3, 6), 8.0, 0.5, is_dead=False, is_saturated=False)
    strip = quantile_strip(statistics, threshold=9.0)
    assert strip is not None
    assert strip["q01"] == 0
    assert strip["q50"] == 30
    assert strip["zero"] == 20
    assert strip["threshold"] is None
    assert quantile_strip(None, None) is None
    dead = Statistics(1.0, 0.0, 1.0, (1.0,) * 7, 1.0, 1.0, is_dead=True, is_saturated=False)
    assert quantile_strip(dead, None) is None


def test_scale_of_a_card_without_contexts_is_zero(data: ReportData) -> None:
    card = data.cards[data.concepts[0].concept][0]
    bare = NeuronCard(**{name: getattr(card, name) for name in NeuronCard.__slots__} | {"contexts": ()})
    assert bare.scale == 0
    assert math.isfinite(card.scale)
