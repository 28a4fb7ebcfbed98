"""`map`: neurons by whom they correlate with, from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command import done, hashes, neuronmill

QUERY = "SELECT count(*), count(x), max(map_group), min(method) FROM neuron_map"


def test_map(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    before = hashes(store)
    assert "map to do" in done("map", "--store", store, "--groups", "3", "--dry-run").out
    assert hashes(store) == before
    result = done("map", "--store", store, "--groups", "3")
    assert "map: 3 groups of " in result.err
    assert "next: neuronmill report --store" in result.out
    n, n_placed, largest, method = (
        done("sql", "--store", store, "--format", "csv", QUERY).out.splitlines()[1].split(",")
    )
    assert (largest, method) == ("2", "kmeans")
    assert 0 < int(n_placed) <= int(n)
    done("publish", "--store", store)
    done("verify", "--store", store)


def test_bad_settings_end_in_one_line(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    found = neuronmill("map", "--store", copy_of(finished), "--groups", "100000")
    assert found.code == 2
    assert "k must be at most" in found.err
    assert "Traceback" not in found.err
