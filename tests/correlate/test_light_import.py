"""A notebook that imports the correlations waits for nothing that only some of them need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"sklearn", "scipy.stats", "scipy.integrate", "umap", "torch", "pandas", "pipeline.run", "pipeline.store"}


def test_the_import_loads_nothing_heavy():
    code = "import sys, pipeline.correlate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pipeline.correlate" in loaded
    assert not HEAVY & set(loaded)
