"""`factors`: non-negative factors of layers from the command line."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import REPOSITORY, Workplace, done, hashes, neuronmill

QUERY = "SELECT count(*), max(factor), min(explained) > 0.5, bool_and(negative_share > 0) FROM factors"


def tables_of(store: Path) -> dict[str, str]:
    """Checksums of the files of the three tables."""
    return {path: digest for path, digest in hashes(store).items() if path.startswith("factor")}


def test_factors(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    before = hashes(store)
    planned = done("factors", "--store", store, "--factors", "3", "--dry-run").out
    assert planned.endswith("results: stats, search, contexts done; factors to do\n")
    assert hashes(store) == before
    result = done("factors", "--store", store, "--factors", "3", "--components", "mlp", "--layers", "1-2")
    assert "factors: 3 factors of each of 2 layers; " in result.err
    assert "% of Σ x² negative, cut off" in result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("next: neuronmill ")]
    assert "word" in done(*shlex.split(line)[2:]).out
    assert done("sql", "--store", store, "--format", "csv", QUERY).out.splitlines()[1] == "6,2,True,True"
    first = tables_of(store)
    done("factors", "--store", store, "--factors", "3", "--layers", "2", "--rows-per-factor", "all", "--seed", "7")
    rows = "SELECT count(rank), count(*) > 100, count(DISTINCT component), max(layer) FROM factor_rows"
    assert done("sql", "--store", store, "--format", "csv", rows).out.splitlines()[1] == "0,True,2,2"
    assert first.items() < tables_of(store).items()
    assert "stats, search, contexts, factors done" in done("factors", "--store", store, "--dry-run").out
    done("publish", "--store", store)
    done("verify", "--store", store)


def test_a_section_of_the_config_is_a_part_of_run(
    finished: Path, copy_of: Callable[[Path], Path], workplace: Workplace, tmp_path: Path
) -> None:
    store = copy_of(finished)
    config = workplace.config(tmp_path / "more.yaml", store, factors={"k": 2, "layers": [1], "passes": 1})
    assert "contexts done; factors to do" in done("stats", config, "--dry-run").out
    done("run", config)
    assert done("sql", "--store", store, "--format", "csv", "SELECT max(layer), max(n_factors), max(n_passes) FROM "
                "factors").out.splitlines()[1] == "1,2,1"  # fmt: skip
    assert "factors done; none to do" in done("run", config, "--dry-run").out


def test_a_killed_command_goes_on_where_it_was(finished: Path, tmp_path: Path) -> None:
    stores = [Path(shutil.copytree(finished, tmp_path / name)) for name in ("whole", "killed")]
    options = ["--factors", "4", "--passes", "3"]
    done("factors", "--store", stores[0], *options)
    command = [sys.executable, "-m", "jobs", "factors", "--store", str(stores[1]), *options]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(stores[1].glob("receipts/factors-*/*")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in stores[1].glob("receipts/factors-*/*")}
    assert kept
    done("factors", "--store", stores[1], *options)
    assert tables_of(stores[0]) == tables_of(stores[1])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--factors", "500"], "factors.k is 500, and "),
        (["--components", "attn"], "nothing of the dump is left"),
        (["--layers", "9"], "nothing of the dump is left"),
        (["--layers", "x"], "--layers 'x'"),
        (["--rows-per-factor", "many"], "factors.rows_per_factor"),
        (["--rows-per-factor", "0"], "factors.rows_per_factor"),
    ],
)
def test_wrong_settings(options: list[str], said: str, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    result = neuronmill("factors", "--store", store, *options)
    assert (result.code, said in result.error) == (2, True)
    assert tables_of(store) == {}


def test_before_the_dump(planned: Path, copy_of: Callable[[Path], Path]) -> None:
    result = neuronmill("factors", "--store", copy_of(planned), "--factors", "3")
    assert (result.code, "not dumped yet" in result.error) == (1, True)
