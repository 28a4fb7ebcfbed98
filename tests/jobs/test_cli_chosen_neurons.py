"""`contexts` and `words` with `--neurons` and `--from-sql`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command import done, hashes, neuronmill

COUNT = "SELECT count(DISTINCT (component, layer, neuron)) AS n FROM {table}"


def n_neurons(store: Path, table: str) -> int:
    return int(done("sql", "--store", store, "--format", "csv", COUNT.format(table=table)).out.split()[1])


def test_chosen_neurons_and_back(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    every = n_neurons(store, "contexts")
    result = done("contexts", "--store", store, "--neurons", "mlp:1:3, resid:0-1:2-4", "--k", "2")
    assert "4 contexts for each of 7 neurons, shown in place of earlier ones" in result.err
    assert n_neurons(store, "contexts") == 7
    (line,) = [line for line in result.out.splitlines() if line.startswith("next: neuronmill ")]
    assert "resid" in done(*shlex.split(line)[2:]).out
    assert "contexts" in done("top", "--store", store, "--concept", "long").out
    query = (
        "SELECT model, component, layer, neuron FROM rankings WHERE method = 'ap' AND concept = 'long' AND rank <= 3"
    )
    done("contexts", "--store", store, "--from-sql", query)
    assert n_neurons(store, "contexts") == 3
    assert "96 neurons, 96 already done" in done("contexts", "--store", store, "--neurons", "all").err
    assert n_neurons(store, "contexts") == every == 96
    done("words", "--store", store, "--from-sql", query)
    assert n_neurons(store, "top_words") == 3
    done("verify", "--store", store)


def test_a_dry_run_reads_the_query_and_writes_nothing(finished: Path) -> None:
    before = hashes(finished)
    query = "SELECT component, layer, neuron FROM rankings LIMIT 1"
    assert "all done" in done("contexts", "--store", finished, "--from-sql", query, "--dry-run").out
    assert neuronmill("contexts", "--store", finished, "--from-sql", "SELECT 1 AS x", "--dry-run").code == 2
    assert hashes(finished) == before


@pytest.mark.parametrize("command", ["contexts", "words"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--neurons", "mlp:1:1", "--from-sql", "SELECT 1"], "exclude each other"),
        (["--neurons", "mlp"], "neurons"),
        (["--neurons", "mlp:1:9-2"], "ends before it begins"),
        (["--neurons", "attn:1:1"], "attn:1 was not dumped"),
        (["--from-sql", "DROP TABLE rankings"], "not allowed"),
    ],
)
def test_a_wrong_choice_is_explained(
    command: str, options: list[str], said: str, finished: Path, copy_of: Callable[[Path], Path]
) -> None:
    store = copy_of(finished)
    result = neuronmill(command, "--store", store, *options)
    assert (result.code, said in result.error) == (2, True)
    assert n_neurons(store, "contexts") == 96
