"""The researcher's section on imports runs as it is written."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
from markdown_pages import ROOT, blocks, commands

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "jobs"))

from command import done


def test_import_and_export_as_documented(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "researcher.md"
    script = next(block for block in blocks(page, "python") if "np.save" in block)
    exec(compile(script, "researcher.md", "exec"), {})
    shown = [line for line in commands(page) if "mine-store" in line or "again" in line]
    assert len(shown) == 8
    output = [done(*shlex.split(line)[1:]).out for line in shown]
    assert "mlp:3:7" in output[3]
    assert Path("X.npy").read_bytes() == Path("Y.npy").read_bytes()


def test_the_search_of_arrays_as_documented():
    random = np.random.default_rng(0)
    names = {"X": random.standard_normal((50, 3)), "Y": random.random((50, 2)) < 0.3}
    script = next(block for block in blocks(ROOT / "docs" / "researcher.md", "python") if "average_precision" in block)
    exec(compile(script, "researcher.md", "exec"), names)
    assert names["found"].score.shape == (3, 2)
