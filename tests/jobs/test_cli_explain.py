"""`neuronmill explain` as a user meets it."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Workplace, done, hashes, neuronmill


def rows(store: Path, query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done("sql", "--store", store, "--format", "csv", query).out)))


def test_a_store_is_explained_and_the_next_command_shows_it(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    before = hashes(store)
    dry = done("explain", "--store", store, "--dry-run")
    assert "explain to do" in dry.out
    assert hashes(store) == before
    result = done("explain", "--store", store, "--alpha", "0.05")
    assert "explain: " in result.err + result.out
    (line,) = re.findall(r"^next: neuronmill (.*)$", result.out, re.MULTILINE)
    assert "formula" in done(*shlex.split(line)).out
    best = rows(store, "SELECT * FROM explanations ORDER BY score DESC")
    assert best[0]["formula"]
    assert float(best[0]["iou"]) >= float(best[0]["score"])
    done("explain", "--store", store, "--neurons", "mlp:1:0-2,-mlp:1:2", "--max-rows", "100", "--beam", "3")
    found = rows(store, "SELECT neuron, sign, params FROM explanations ORDER BY neuron, sign")
    assert [(row["neuron"], row["sign"]) for row in found] == [("0", "1"), ("1", "1"), ("2", "-1"), ("2", "1")]
    assert all('"beam": 3' in row["params"] and "by hash" in row["params"] for row in found)


def test_run_explains_only_with_its_section(workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    assert rows(finished, "SELECT * FROM explanations") == []
    config = workplace.config(
        tmp_path / "c.yaml",
        tmp_path / "store",
        dump={"layers": [1], "components": ["mlp"]},
        explain={"top": 1, "alpha": 0.1},
    )
    result = done("run", config)
    assert "polysemous" in result.err + result.out
    n_neurons = len(rows(tmp_path / "store", "FROM explanations"))
    assert n_neurons
    done("explain", config, "--neurons", "mlp:1:4")
    assert len(rows(tmp_path / "store", "FROM explanations")) == 1
    done("run", config)
    assert len(rows(tmp_path / "store", "FROM explanations")) == n_neurons


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neurons", "mlp:1:0", "--top", "2"], "exclude each other"),
        (["--neurons", "mlp"], "explain.neurons"),
        (["--neurons", "mlp:9:0"], "mlp:9 was not dumped"),
        (["--alpha", "1"], "explain.alpha"),
        (["--penalty", "-1"], "explain.penalty"),
        (["--method", "apx"], "explain.method"),
    ],
)
def test_wrong_requests_are_one_line(finished: Path, arguments: list[str], message: str) -> None:
    before = hashes(finished)
    result = neuronmill("explain", "--store", finished, *arguments)
    assert result.code == 2
    assert message in result.error
    assert hashes(finished) == before


def test_a_store_that_is_not_dumped(planned: Path) -> None:
    result = neuronmill("explain", "--store", planned, "--neurons", "mlp:1:0")
    assert result.code == 1
    assert "not dumped yet" in result.error
