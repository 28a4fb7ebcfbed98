"""Planning and kernels share the cores that this process may use."""

from __future__ import annotations

import os

import pytest

from pipeline.run.cores import usable_cores
from pipeline.run.fold import kernel_threads
from schemas.config_file import parse_config


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_cores_of_the_affinity_mask() -> None:
    mask = os.sched_getaffinity(0)
    assert usable_cores() == len(mask)
    data = {"store": "s", "corpus": {"sources": "a.txt"}, "model": {"name": "m"}, "executor": {"workers": 2}}
    config = parse_config(data, "here")
    assert kernel_threads(config) == max(1, len(mask) // 2)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert usable_cores() == kernel_threads(config) == 1
    finally:
        os.sched_setaffinity(0, mask)
