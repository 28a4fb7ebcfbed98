"""The researcher's notebook snippets on explanations and clusters run as they are written."""

from __future__ import annotations

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
