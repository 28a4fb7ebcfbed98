"""Paths of the chaos tests: they run the tiny model and corpus of the tests of whole runs."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
for _folder in ("run", "extract"):
    sys.path.insert(0, str(_TESTS / _folder))
