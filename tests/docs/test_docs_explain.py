"""The researcher's notebook snippet on explanations runs as it is written."""

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
