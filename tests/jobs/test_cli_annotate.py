"""`annotate` into a store works alone, as the other commands of a run do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import Workplace, done, neuronmill

from jobs.held_store import run_lease
from pipeline.store.lease import live_leases
from pipeline.store.store import Store
from schemas.config import AnnotateConfig

needs_tagger = pytest.mark.skipif(find_spec(AnnotateConfig().tagger) is None, reason="needs the extra `annotate`")


@pytest.fixture
def config(workplace: Workplace, tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("Anna sold 12 red cars in Berlin on Monday. The old man saw two dogs.\n")
    corpus = {"sources": str(text), "split": None}
    return workplace.config(tmp_path / "config.yaml", tmp_path / "store", corpus=corpus, annotate={})


def test_it_refuses_beside_a_command_of_the_same_run(config: Path, tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    with store.holding(run_lease("tiny"), command="neuronmill dump"):
        for more in ([], ["--wait", "0.1"]):
            result = neuronmill("annotate", config, *more)
            assert result.code == 1
            for part in ("`neuronmill dump`", "'run-tiny'", "--wait", str(tmp_path / "store")):
                assert part in result.error
        assert not (tmp_path / "store" / "annotated").exists()


def test_a_refused_annotation_leaves_no_store(config: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").unlink()
    result = neuronmill("annotate", config)
    assert result.code == 2
    assert "text.txt" in result.error
    assert not (tmp_path / "store").exists()


@needs_tagger
def test_a_second_one_refuses_until_the_first_has_ended(config: Path, tmp_path: Path) -> None:
    text = (tmp_path / "text.txt").read_text()
    (tmp_path / "text.txt").write_text(text * 5000)  # some seconds of work
    log = (tmp_path / "log").open("wb")
    first = subprocess.Popen([sys.executable, "-m", "jobs", "annotate", str(config)], stdout=log, stderr=log)
    try:
        while not (tmp_path / "store" / "annotated" / "parts").exists():
            assert first.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        first.send_signal(signal.SIGSTOP)
        refused = neuronmill("annotate", config)
        assert refused.code == 1
        assert "`neuronmill annotate`" in refused.error
        assert f"process {first.pid} on" in refused.error
    finally:
        first.kill()
        first.wait()
        log.close()
    (tmp_path / "text.txt").write_text(text)
    done("annotate", config)
    store = Store.open(str(tmp_path / "store"))
    assert live_leases(store.storage) == []
    assert store.storage.list("leases") == []
    assert len(list((tmp_path / "store" / "annotated" / "parts").iterdir())) == 1


@needs_tagger
def test_a_folder_of_its_own_is_no_store(config: Path, tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    with store.holding(run_lease("tiny"), command="neuronmill dump"):
        done("annotate", config, "--output", tmp_path / "tagged")
    assert (tmp_path / "tagged" / "parts.json").is_file()
