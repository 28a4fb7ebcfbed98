"""`neuronmill cluster` as a user meets it."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Workplace, done, hashes, neuronmill


def rows(store: Path, query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done("sql", "--store", store, "--format", "csv", query).out)))


def test_a_store_is_clustered_and_the_next_command_shows_it(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    before = hashes(store)
    dry = done("cluster", "--store", store, "--dry-run")
    assert "cluster to do" in dry.out
    forecast = re.search(r"^cluster: (\d+) neurons, ([\d,]+) pairs in \d+ tiles; .* to write$", dry.out, re.MULTILINE)
    n, pairs = forecast.groups()
    assert int(pairs.replace(",", "")) == int(n) * (int(n) - 1) // 2
    assert hashes(store) == before
    result = done("cluster", "--store", store, "--edges", "0.5")
    for line in ("co-moments: ", "clusters, pass 1: ", "principal components: ", "edges, pass 1: "):
        assert line in result.err
    assert f"{n} neurons in " in result.out
    lines = dict(re.findall(r"^ +(0\.\d) +([\d,]+) +[\d.]+%", result.out, re.MULTILINE))
    found = rows(store, "SELECT threshold, n_clusters, share FROM redundancy WHERE scope = 'all'")
    assert lines == {row["threshold"]: row["n_clusters"] for row in found}
    assert list(lines) == [f"0.{k}" for k in range(1, 8)]
    shares = {row["threshold"]: f"{float(row['share']):.1%}" for row in found}
    assert all(re.search(rf"^ +{level} .* {share} ", result.out, re.MULTILINE) for level, share in shares.items())
    (largest,) = rows(store, "SELECT max(size) AS size FROM clusters WHERE threshold = 0.7")
    assert re.search(rf"^ +0\.7 .*  {largest['size']} neurons of \d+ layers?$", result.out, re.MULTILINE)
    (line,) = re.findall(r"^next: neuronmill (.*)$", result.out, re.MULTILINE)
    assert "cluster_concepts(0.3)" in line
    assert "concepts" in done(*shlex.split(line)).out
    assert "results: " in done("cluster", "--store", store, "--dry-run").out
    assert "all co-moments are there" in done("cluster", "--store", store, "--threshold", "0.2", "--dry-run").out


def test_options_are_settings(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    options = ("--threshold", "0.4,0.2", "--linkage", "complete", "--signed", "--components", "mlp", "--layers", "1-2")
    done("cluster", "--store", store, *options, "--precision", "float64", "--edges", "none", "--memory-mb", "64")
    query = "SELECT DISTINCT linkage, signed, threshold, component FROM clusters ORDER BY threshold"
    same = {"linkage": "complete", "signed": "True", "component": "mlp"}
    assert rows(store, query) == [same | {"threshold": level} for level in ("0.2", "0.4")]
    assert rows(store, "FROM correlation_edges") == []
    result = done("cluster", "--store", store, "--threshold", "0.3", "--components", "mlp", "--layers", "1")
    assert "correlation_edges" in result.out
    assert {row["threshold"] for row in rows(store, "FROM clusters")} == {"0.3"}


def test_run_clusters_only_with_its_section(workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    assert rows(finished, "FROM clusters") == []
    config = workplace.config(
        tmp_path / "c.yaml",
        tmp_path / "store",
        dump={"layers": [1], "components": ["mlp"]},
        cluster={"thresholds": [0.3, 0.6], "edges": None},
    )
    result = done("run", config)
    assert "2 thresholds" in result.err
    store = tmp_path / "store"
    assert {row["threshold"] for row in rows(store, "FROM clusters")} == {"0.3", "0.6"}
    assert list(store.glob("snapshots/*/neuronmill.duckdb"))
    done("cluster", config, "--threshold", "0.5")
    assert {row["threshold"] for row in rows(store, "FROM clusters")} == {"0.5"}
    done("run", config)
    assert {row["threshold"] for row in rows(store, "FROM clusters")} == {"0.3", "0.6"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "30"], "cluster.thresholds"),
        (["--threshold", "-0.1"], "cluster.thresholds"),
        (["--threshold", "a"], "cluster.thresholds"),
        (["--threshold", ","], "cluster.thresholds"),
        (["--edges", "2"], "cluster.edges"),
        (["--edges", "nan"], "cluster.edges"),
        (["--components", "attn"], "nothing of the dump is left by components attn"),
        (["--layers", "9"], "nothing of the dump is left by layers 9"),
        (["--layers", "x"], "--layers 'x'"),
    ],
)
def test_wrong_requests_are_one_line(finished: Path, arguments: list[str], message: str) -> None:
    before = hashes(finished)
    result = neuronmill("cluster", "--store", finished, *arguments)
    assert result.code == 2
    assert message in result.error
    assert hashes(finished) == before


def test_a_dry_run_says_what_is_to_do(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    assert "cluster to do" in done("cluster", "--store", store, "--dry-run").out
    done("cluster", "--store", store, "--threshold", "0.3")
    assert "cluster done; none to do" in done("cluster", "--store", store, "--threshold", "0.3", "--dry-run").out
    assert "cluster to do" in done("cluster", "--store", store, "--linkage", "single", "--dry-run").out


def test_run_refuses_bad_sections_before_it_dumps(workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for sections, message in (
        ({"cluster": {"layers": [9]}}, "cluster.components, cluster.layers: nothing of the dump is left by layers 9"),
        ({"map": {}, "cluster": {"components": ["attn"]}}, "nothing of the dump is left by components attn"),
        ({"factors": {"layers": [9]}}, "factors.components, factors.layers: nothing of the dump is left by layers 9"),
        ({"correlate": {"with": ["nobody"]}}, "'nobody' is neither a model of this store, which has tiny"),
    ):
        config = workplace.config(tmp_path / "c.yaml", store, **sections)
        for arguments in (["--dry-run"], [], ["--dry-run"]):  # of a new store, then of one that is planned
            result = neuronmill("run", config, *arguments)
            assert (result.code, message in result.error) == (2, True), result.err
        assert not (store / "activations").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("command", [["cluster"], ["correlate", "--with", "tiny"]])
def test_a_gpu_that_is_not_there_is_a_wrong_request(
    finished: Path, copy_of: Callable[[Path], Path], command: list[str]
) -> None:
    result = neuronmill(*command, "--store", copy_of(finished), "--device", "cuda")
    assert (result.code, "there is no CUDA device here" in result.error) == (2, True)


def test_a_store_that_is_not_dumped(planned: Path) -> None:
    result = neuronmill("cluster", "--store", planned)
    assert result.code == 1
    assert "not dumped yet" in result.error
