"""Fixtures of the tests of the command line; the costly ones are shared by the session and never changed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "extract"))  # its tiny models serve here too

from command import Workplace, conllu, done
from tiny_models import save_model


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Corpus and model."""
    folder = tmp_path_factory.mktemp("workplace")
    corpus = folder / "corpus.conllu"
    corpus.write_text(conllu(90), encoding="utf-8")
    save_model(folder / "tiny")
    return Workplace(folder, corpus, folder / "tiny")


@pytest.fixture(scope="session")
def finished(workplace: Workplace) -> Path:
    """The store of a whole `neuronmill run`, read-only for tests."""
    config = workplace.config(workplace.folder / "finished.yaml", workplace.folder / "finished")
    done("run", config)
    return workplace.folder / "finished"


@pytest.fixture(scope="session")
def planned(workplace: Workplace) -> Path:
    """A store that was only planned, read-only for tests."""
    config = workplace.config(workplace.folder / "planned.yaml", workplace.folder / "planned")
    done("plan", config, "--no-pilot")
    return workplace.folder / "planned"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a store for a test to change, somewhere else than where it was made."""
    return lambda store: Path(shutil.copytree(store, tmp_path / "copy of a store"))
