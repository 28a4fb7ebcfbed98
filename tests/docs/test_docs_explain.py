"""The researcher's notebook snippets on explanations, clusters and correlations run as they are written."""

from __future__ import annotations

import re

import numpy as np
from markdown_pages import ROOT, blocks


def test_explain_as_documented(capsys):
    snippet = next(block for block in blocks(ROOT / "docs" / "researcher.md", "python") if "import explain" in block)
    concepts = np.random.default_rng(0).random((1000, 3)) < 0.3
    x = (concepts[:, [0]] & ~concepts[:, [1]]) + 0.0
    inputs = {
        "X": x,
        "Y": concepts,
        "X_test": x[:500],
        "Y_test": concepts[:500],
        "names": ["noun", "verb", "a long one"],
    }
    exec(snippet.replace("0.005", "0.3"), inputs)
    assert capsys.readouterr().out == "0 noun AND NOT verb 1.0 1.0 ('noun AND NOT verb',)\n"


def test_clusters_as_documented(capsys):
    snippet = next(
        block for block in blocks(ROOT / "docs" / "researcher.md", "python") if "import correlation_clusters" in block
    )
    x = np.random.default_rng(0).normal(size=(300, 3))
    exec(snippet, {"X": np.column_stack([x, -x[:, 0]])})
    assert capsys.readouterr().out == "".join(f"{t} 3 [0 1 2]\n" for t in (0.1, 0.3, 0.5))


def test_models_on_arrays_as_documented(capsys):
    snippet = next(block for block in blocks(ROOT / "docs" / "researcher.md", "python") if "import linear_cka" in block)
    values = np.random.default_rng(0).normal(size=(4096, 4))
    z = np.linalg.qr(values - values.mean(axis=0))[0]  # four neurons that have nothing in common
    exec(snippet, {"X": z[:, :3], "Y": np.column_stack([z[:, 1], -z[:, 0], z[:, 2] + z[:, 3]])})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Y [1.   1.   0.71] [1.  1.  0.5] [1.   1.   0.71]"
    assert lines[1].startswith("Y 0.9 0.9 0.")
    null = [float(figure) for line in lines[2:] for figure in re.findall(r"-?[\d.]+", line)]
    assert len(null) == 12
    assert max(null) < 0.1


def test_further_figures_as_documented(capsys):
    """That of the map takes UMAP, and runs with its tests."""
    snippet = next(block for block in blocks(ROOT / "docs" / "researcher.md", "python") if "layer_redundancy" in block)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    x = np.column_stack([x, -x[:, 0]])
    inputs = {"X": x, "layers": [1, 1, 1, 2, 2, 2], "numbers": x[:, :2], "Y": x @ rng.normal(size=(6, 6))}
    exec(snippet, inputs)
    np.testing.assert_allclose(inputs["curve"].share, [1 / 6, 1 / 6])
    assert inputs["factors"].values.shape == (300, 4)
    assert inputs["spectrum"].rank == 5
    np.testing.assert_allclose(inputs["columns"].r[0, [0, 5]], [1, -1])
    of_array, of_model = (line.split() for line in capsys.readouterr().out.splitlines())
    assert float(of_array[-2]) > 5 * float(of_array[-1])
    assert float(of_model[0]) > 3 * float(of_model[1])
