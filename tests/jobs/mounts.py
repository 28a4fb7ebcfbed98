"""Mounts of a test: small disks, disks that become read-only, disks that go away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[Path]:
    """``mount ARGUMENTS AT``, undone at the end; skipped where mounting is not permitted."""
    if shutil.which("mount") is None:
        pytest.skip("no `mount` on this machine")
    at.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(["mount", *arguments, str(at)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting is not permitted here: {result.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)
