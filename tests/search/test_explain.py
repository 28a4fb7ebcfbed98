"""Compositional explanations against a plain numpy beam, an exhaustive search, and what was planted."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from formula_oracle import evaluate, iou, largest_score, numpy_beam
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search import explain
from pipeline.search.bit_masks import ConceptMasks, count, pack
from pipeline.search.formula import Formula, Step, quoted
from pipeline.search.formula_beam import Overlaps, Work, search_beam
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.quantiles import linear_quantile
from schemas.errors import ActivationError, UsageError

N_ROWS = (1, 2, 63, 64, 65, 127, 128, 200, 513)


def masks_of(concepts):
    return ConceptMasks.of(LabelMatrix.from_dense(np.asarray(concepts, bool).T))


def random_case(seed):
    """Target (T,) and concepts (C, T): empty, full, equal, complementary and nested ones among them."""
    rng = np.random.default_rng(seed)
    n_rows, n_concepts = int(rng.choice(N_ROWS)), int(rng.integers(1, 13))
    concepts = rng.random((n_concepts, n_rows)) < rng.choice([0.02, 0.1, 0.3, 0.5, 0.9], n_concepts)[:, None]
    for c in range(1, n_concepts):
        other = concepts[rng.integers(c)]
        kinds = (concepts[c], np.zeros(n_rows, bool), np.ones(n_rows, bool), other, ~other, other & concepts[c])
        concepts[c] = kinds[rng.choice(6, p=[0.6, 0.08, 0.08, 0.08, 0.08, 0.08])]
    target = rng.random(n_rows) < rng.choice([0.01, 0.1, 0.5, 0.95])
    if rng.random() < 0.5:
        a, b, c = concepts[rng.integers(n_concepts, size=3)]
        target ^= (a | b) & ~c
    return target, concepts


@settings(max_examples=250)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 5))
def test_the_beam_keeps_what_a_plain_numpy_beam_keeps(seed, beam, length):
    target, concepts = random_case(seed)
    found = search_beam(Overlaps(masks_of(concepts)), pack(target), beam=beam, length=length)
    expected = numpy_beam(target, concepts, beam, length)
    assert found.n_kept.tolist() == [len(level) for level in expected]
    for level, kept in enumerate(expected):
        for rank, candidate in enumerate(kept):
            one = found.found(level, rank)
            assert tuple((step.operator, step.concept) for step in one.formula.steps) == candidate.steps
            assert one.iou == candidate.iou
            assert (one.n_both, one.n_formula) == ((candidate.mask & target).sum(), candidate.mask.sum())
            assert (one.formula.mask(masks_of(concepts).words) == pack(candidate.mask)).all()


@pytest.mark.parametrize("penalty", [0, 0.01, 0.2])
@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_best_of_all_formulas(seed, penalty):
    rng = np.random.default_rng(seed)
    n_rows = int(rng.choice([5, 40, 64, 100]))
    concepts = rng.random((4, n_rows)) < rng.choice([0.1, 0.4, 0.7], 4)[:, None]
    target = rng.random(n_rows) < 0.3
    best = search_beam(Overlaps(masks_of(concepts)), pack(target), beam=2000, length=3).best(penalty)
    expected = largest_score(target, concepts, 3, penalty)
    if best is None:
        assert expected == -np.inf
    else:
        assert best.score(penalty) == pytest.approx(expected, abs=1e-12)


def test_not_is_tried_on_a_concept_that_never_meets_the_neuron():
    rng = np.random.default_rng(1)
    a, b, *others = rng.random((12, 4000)) < 0.2
    active = a & ~b
    assert not (active & b).any()
    (found,) = explain(active + 0.0, np.stack([a, b, *others], axis=1), ["a", "b", *"cdefghijkl"], alpha=active.mean())
    assert (found.formula, found.iou, found.length) == ("a AND NOT b", 1.0, 2)


def test_few_pairs_are_counted_over_all_rows():
    rng = np.random.default_rng(2)
    concepts = rng.random((100, 5000)) < np.geomspace(0.001, 0.2, 100)[:, None]
    work = Work()
    search_beam(Overlaps(masks_of(concepts)), pack(rng.random(5000) < 0.01), beam=10, length=5, work=work)
    assert work.n_pairs == 4 * 10 * 100
    assert work.n_in_full < 0.25 * work.n_pairs


def test_the_threshold_is_the_linear_quantile_and_strict():
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(1000, 4)), 1)
    concepts = rng.random((1000, 6)) < 0.2
    for neuron, found in enumerate(explain(x, concepts, alpha=0.05)):
        threshold = np.quantile(x[:, neuron], 0.95)
        active = x[:, neuron] > threshold
        mask = evaluate(found.formula, {f"c{c}": concepts[:, c] for c in range(6)})
        assert (found.neuron, found.threshold, found.n_active) == (neuron, threshold, active.sum())
        assert (found.n_formula, found.n_both) == (mask.sum(), (mask & active).sum())
        assert found.iou == iou(mask, active)
        assert found.score == pytest.approx(found.iou - 0.01 * (found.length - 1))


@given(
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1e-300]), min_size=1, max_size=60),
    st.floats(0.0001, 0.9999) | st.sampled_from([0.5, 0.995]),
)
def test_the_quantile_is_that_of_numpy_to_the_bit(values, level):
    assert linear_quantile(np.array(values), level) == np.quantile(values, level)


def test_held_out_rows_are_measured_with_the_formula_and_threshold_found():
    rng = np.random.default_rng(4)
    concepts = rng.random((1500, 5)) < 0.3
    x = (concepts[:, 0] | concepts[:, 1]) + 0.1 * rng.normal(size=1500)
    one, two = slice(0, 1000), slice(1000, None)
    (found,) = explain(x[one], concepts[one], alpha=0.4, heldout=(x[two], concepts[two]))
    mask = evaluate(found.formula, {f"c{c}": concepts[two][:, c] for c in range(5)})
    assert found.heldout_iou == iou(mask, x[two] > found.threshold)
    assert explain(x[one], concepts[one], alpha=0.4)[0].heldout_iou is None
    no_rows = explain(x[one], concepts[one], alpha=0.4, heldout=(x[:0], concepts[:0]))
    assert no_rows[0].heldout_iou is None


@pytest.mark.parametrize(
    ("x", "concepts"),
    [
        (np.zeros(70), np.ones((70, 2))),  # a constant neuron is active nowhere
        (np.ones(1), np.ones((1, 1))),
        (np.arange(70.0), np.zeros((70, 2))),  # no concept on an active row
        (np.arange(70.0), np.zeros((70, 0))),
        (np.zeros(0), np.zeros((0, 2))),
    ],
)
def test_what_cannot_be_explained_is_none(x, concepts):
    (found,) = explain(x, concepts, alpha=0.1)
    assert (found.formula, found.iou, found.score, found.heldout_iou) == (None, None, None, None)
    assert (found.concepts, found.operands, found.is_polysemous, found.length) == ((), (), False, 0)
    assert (found.n_rows, found.n_active) == (len(x), int((x > np.quantile(x, 0.9)).sum()) if len(x) else 0)


def test_sparse_dense_and_threads_give_the_same():
    rng = np.random.default_rng(5)
    x, concepts = rng.normal(size=(300, 9)), rng.random((300, 20)) < 0.1
    expected = explain(x, concepts, alpha=0.1)
    assert explain(x, scipy.sparse.csr_array(concepts), alpha=0.1, threads=3) == expected
    assert explain(x[:, 4], concepts, alpha=0.1)[0].formula == expected[4].formula


def test_bad_input_is_refused():
    x, concepts = np.zeros((4, 1)), np.zeros((4, 2))
    with pytest.raises(UsageError, match="names must be 2 different names"):
        explain(x, concepts, ["a", "a"])
    with pytest.raises(UsageError, match="must have the 4 rows"):
        explain(x, concepts[:3])
    with pytest.raises(UsageError, match="heldout must have 1 neurons and 2 concepts"):
        explain(x, concepts, heldout=(x, concepts[:, :1]))
    with pytest.raises(ActivationError):
        explain(np.array([np.nan]), np.ones(1))
    for wrong in (
        {"alpha": 0.0},
        {"beam": 0},
        {"length": 0},
        {"penalty": -1.0},
        {"penalty": np.nan},
        {"penalty": np.inf},
    ):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            explain(x, concepts, **wrong)


def test_a_polysemous_neuron_has_several_senses():
    rng = np.random.default_rng(6)
    a, b, c, d = rng.random((4, 5000)) < np.array([0.1, 0.05, 0.02, 0.3])[:, None]
    names = ["a", "b", "c", "d"]
    concepts = np.stack([a, b, c, d], axis=1)

    def found(active, **options):
        return explain(active + 0.0, concepts, names, alpha=active.mean(), **options)[0]

    both = found((a | b) & ~d)
    assert both.formula == "(a OR b) AND NOT d"
    assert both.operands == both.senses == ("a AND NOT d", "b AND NOT d")
    assert both.is_polysemous
    only_a, only_b = (a & ~b & ~d).sum(), (b & ~a & ~d).sum()
    assert both.operand_shares == (only_a / both.n_both, only_b / both.n_both)
    few = found(a | (c & (rng.random(5000) < 0.5)), penalty=0)  # c adds less than a tenth
    assert few.operands[0] == "a"
    assert not few.is_polysemous
    assert len(few.senses) == 1
    one = found(a & d)
    assert (one.formula, one.operands, one.operand_shares, one.is_polysemous) == (
        "a AND d",
        ("a AND d",),
        (1.0,),
        False,
    )


def formula(*steps):
    return Formula(tuple(Step(operator, concept) for operator, concept in steps))


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([("OR", 2)], "c"),
        ([("OR", 1), ("OR", 0), ("OR", 2)], "a OR b OR c"),
        ([("OR", 2), ("AND NOT", 0), ("AND", 1)], "b AND c AND NOT a"),
        ([("OR", 2), ("AND NOT", 1), ("OR", 0)], "(c AND NOT b) OR a"),
        ([("OR", 2), ("OR", 1), ("AND NOT", 0), ("AND", 3)], "(b OR c) AND d AND NOT a"),
        ([("OR", 3), ("AND", 2), ("OR", 1), ("AND", 0)], "((c AND d) OR b) AND a"),
    ],
)
def test_text_is_flat_and_sorted(steps, text):
    assert formula(*steps).text("abcd") == text


NAMES = ("upos=NUM", "AND", "or", "long noun", 'say "x"', "(a)", "", '"', "a AND NOT b", "naïve", "NOT", "a\nb")


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_text_with_any_names_can_be_read_back(seed, length):
    rng = np.random.default_rng(seed)
    masks = dict(zip(NAMES, rng.random((len(NAMES), 100)) < 0.5, strict=True))
    chosen = rng.choice(len(NAMES), length, replace=False).tolist()
    one = formula(*(("OR" if not i else str(rng.choice(["AND", "OR", "AND NOT"])), c) for i, c in enumerate(chosen)))
    rows = evaluate(one.text(NAMES), masks)
    words = np.stack([pack(mask) for mask in masks.values()])
    assert (pack(rows) == one.mask(words)).all()
    operands = [evaluate(operand.text(NAMES), masks) for operand in one.operands()]
    assert (np.any(operands, axis=0) == rows).all()
    assert all(
        (operand.mask(words) == pack(mask)).all() for operand, mask in zip(one.operands(), operands, strict=True)
    )


def test_names_are_quoted_only_where_they_have_to_be():
    assert [quoted(name) for name in ("upos=NUM", "long noun", 'a"b', "and", "")] == [
        "upos=NUM", '"long noun"', '"a""b"', '"and"', '""',
    ]  # fmt: skip


@pytest.mark.parametrize("n_rows", [0, *N_ROWS])
def test_packing_keeps_every_row(n_rows):
    mask = np.random.default_rng(n_rows).random(n_rows) < 0.5
    words = pack(mask)
    assert words.shape == (-(-n_rows // 64),)
    assert count(words) == mask.sum()
    assert all(bool(words[t // 64] >> np.uint64(t % 64) & np.uint64(1)) == mask[t] for t in range(n_rows))
    halves = ConceptMasks.empty(1, n_rows)
    for first in (0, n_rows // 2):
        part = mask[first : n_rows // 2 if first == 0 else None] if n_rows > 1 else mask[: 1 - first]
        halves.add(LabelMatrix.from_dense(part[:, None]), first)
        if n_rows < 2:
            break
    assert (halves.words[0] == words).all()
    assert halves.counts[0] == mask.sum()
