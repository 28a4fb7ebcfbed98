"""Fixtures of all tests: data and models that lie beside the repository on some machines only."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# In a fresh checkout the first draw of all makes hypothesis's tables of Unicode and of the constants in the code loaded
# (4 to 6 s), and on a busy machine any draw may be slow: neither says anything about the code under test.
settings.register_profile("neuronmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("neuronmill")

# in the background of a script Ctrl-C is ignored, and so it would be by every command that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _beside_the_repository(name: str) -> Path:
    path = _SHARED / name
    if not path.is_dir():
        pytest.skip(
            f"no folder ../shared/{name} beside the repository: it holds real {name} that are no part of the project"
        )
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real corpora; the test is skipped where it is absent."""
    return _beside_the_repository("data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Folder with real models; the test is skipped where it is absent."""
    return _beside_the_repository("models")
