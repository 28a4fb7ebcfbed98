"""`words`: top words per neuron from the command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command import done, hashes, neuronmill


def test_words(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    before = hashes(store)
    planned = done("words", "--store", store, "--dry-run").out
    assert planned.endswith("results: stats, search, contexts done; none to do\n")
    assert hashes(store) == before
    result = done("words", "--store", store, "--k", "3", "--min-count", "20", "--shrinkage", "2.5", "--ignore-case")
    assert "words: 6 of 10 word types for each of 96 neurons" in result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("next: neuronmill ")]
    assert "shrinkage" in done(*shlex.split(line)[2:]).out
    query = "SELECT count(*) AS n, max(rank), min(n_words) >= 20, min(shrinkage), max(shrinkage) FROM top_words"
    assert done("sql", "--store", store, "--format", "csv", query).out.splitlines()[1] == "576,3,True,2.5,2.5"
    assert "stats, search, contexts, words done" in done("words", "--store", store, "--dry-run").out
    done("publish", "--store", store)
    done("verify", "--store", store)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--min-count", "5000"], "none of 10 words occurs 5000 times"),
        (["--shrinkage", "much"], "top_words.shrinkage"),
        (["--shrinkage", "-1"], "top_words.shrinkage"),
    ],
)
def test_wrong_settings(options: list[str], said: str, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    result = neuronmill("words", "--store", copy_of(finished), *options)
    assert (result.code, said in result.error) == (2, True)


def test_before_the_dump(planned: Path, copy_of: Callable[[Path], Path]) -> None:
    result = neuronmill("words", "--store", copy_of(planned))
    assert (result.code, "not dumped yet" in result.error) == (1, True)
