"""The comparison of rankings: labels that tell them apart, undefined values, hostile names, same bytes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from report_store import BIDI_HOSTILE, HOSTILE, make_store

from pipeline.report.agreement_data import AgreementData, load_agreement
from pipeline.report.agreement_page import render_agreement_page
from pipeline.report.agreement_rows import agreement_rows
from pipeline.report.agreement_text import render_agreement
from schemas.errors import ConceptError, UsageError


def compare(*stores: object, names: tuple[str, ...] = ("a", "b"), **options: object) -> AgreementData:
    return load_agreement(stores, names[: len(stores)], **options)


def figures(page: str) -> dict[str, object]:
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    return json.loads(text)


def test_labels_have_the_words_they_need():
    store = make_store(2)
    store.execute("insert into rankings select * replace ('0123456789' as run_id, 'other' as model) from rankings")
    labels = {ranking.label for ranking in compare(store, methods=["ap"]).rankings}
    assert labels == {"minilm-l6 ap", "other ap"}
    labels = {ranking.label for ranking in compare(store, store, names=("x", "x"), methods=["ap"]).rankings}
    assert labels == {"x (1) minilm-l6 ap", "x (1) other ap", "x (2) minilm-l6 ap", "x (2) other ap"}
    store.execute("update rankings set model = 'minilm-l6'")
    labels = {ranking.label for ranking in compare(store, methods=["ap"]).rankings}
    assert labels == {f"ap {run[:8]}" for run in ("01234567", *store.execute("select run_id from runs").fetchone())}
    store.execute("update rankings set params = '{\"alpha\": 0.1}' where run_id = '0123456789'")
    labels = {ranking.label for ranking in compare(store, methods=["ap"]).rankings}
    assert labels == {"ap", "ap alpha=0.1"}


def test_a_concept_that_one_ranking_lacks():
    store = make_store(3)
    [gone, kept] = [row[0] for row in store.execute("select distinct concept from rankings order by 1").fetchall()][:2]
    store.execute("delete from rankings where method = 'ap' and concept = ?", [gone])
    store.execute("update rankings set score = null where method = 'auroc' and concept = ?", [kept])
    data = compare(store, methods=["ap", "auroc"])
    assert set(data.left_out) == {gone, kept}
    assert len(data.concepts) == 1
    three = compare(store)
    assert set(three.concepts) >= {gone, kept}
    values, counts = three.mean("jaccard")
    labels = [ranking.label for ranking in three.rankings]
    ap, auroc = labels.index("ap"), labels.index("auroc")
    assert counts[ap, auroc] == len(three.concepts) - 2
    assert (counts.diagonal() >= len(three.concepts) - 1).all()
    assert not np.isnan(values).any()
    undefined = [row for row in agreement_rows(three) if row["value"] is None]
    assert {row["concept"] for row in undefined} <= {gone, kept}
    assert undefined


def test_neurons_are_the_same_by_component_layer_and_number():
    store, moved = make_store(2), make_store(2)
    moved.execute("update rankings set layer = layer + 100")
    data = compare(store, moved, methods=["ap"])
    assert [a.jaccard[0, 1] for a in data.by_concept] == [0] * len(data.concepts)
    assert data.n_common[0] > 0  # with itself
    assert "Spearman" in render_agreement(data)


def test_hostile_names_are_text():
    store = make_store(2, extra_concepts=(HOSTILE, BIDI_HOSTILE))
    store.execute("update rankings set model = ? where method = 'ap'", [HOSTILE])
    data = compare(store)
    page = render_agreement_page(data, HOSTILE)
    assert "<img" not in page[: page.index("plotly.js v")]
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", render_agreement(data, by_concept=True)
    )
    assert page == render_agreement_page(compare(store), HOSTILE)
    assert len(figures(page)["concepts"]) == len(data.concepts)


def test_too_little_to_compare():
    store = make_store(1)
    with pytest.raises(UsageError, match="it takes two rankings"):
        compare(store, methods=["ap"])
    store.execute("update rankings set score = null where method <> 'ap'")
    with pytest.raises(ConceptError, match="nothing to compare"):
        compare(store)
