"""On a terminal, in a pipe, in another encoding, interrupted: what the process itself does."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import REPOSITORY, Workplace, done, process

from jobs.console import ConsoleProgress
from schemas.amounts import counted, human_bytes, human_seconds

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def on_a_terminal(*arguments: object) -> tuple[int, str]:
    """Exit code and everything a pseudo-terminal got from `neuronmill ARGUMENTS`."""
    driver, terminal = pty.openpty()
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=_ENVIRONMENT) as running:
        os.close(terminal)
        received = b""
        until = time.monotonic() + 100
        while time.monotonic() < until:
            if not select.select([driver], [], [], 1)[0]:
                continue
            try:
                chunk = os.read(driver, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not chunk:
                break
            received += chunk
        os.close(driver)
        return running.wait(timeout=20), received.decode()


def test_a_run_on_a_terminal_has_one_live_line(workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", tmp_path / "store", dump={"rows_per_shard": 80})
    done("plan", config, "--no-pilot")
    code, shown = on_a_terminal("dump", config)
    assert code == 0, shown
    assert "Traceback" not in shown
    assert re.search(r"\r\x1b\[2K[a-z ]+: \d+/\d+ \w+", shown), shown
    assert "\r\x1b[2Kdump tiny: " in shown
    assert "next: neuronmill stats" in shown


def test_top_is_coloured_on_a_terminal_only(finished: Path) -> None:
    code, shown = on_a_terminal("top", "--store", finished, "--concept", "upos=NOUN", "--limit", "1")
    assert code == 0
    assert "\x1b[" in shown
    assert b"\x1b[" not in process("top", "--store", finished, "--concept", "upos=NOUN", "--limit", "1").stdout


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_terminal_that_knows_no_unicode(environment: dict[str, str], finished: Path) -> None:
    result = process("top", "--store", finished, "--concept", "upos=NOUN", "--limit", "3", env=environment)
    assert result.returncode == 0, result.stderr
    assert b"upos=NOUN" in result.stdout
    result = process("sql", "--store", finished, "SELECT 'é€😀' AS word", env=environment)
    assert (result.returncode, result.stderr) == (0, b"")


def test_arguments_that_are_no_text(finished: Path) -> None:
    result = process("sql", "--store", finished, b"SELECT '\xff'")
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: argument ")
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["sql", "--format", "csv", "SELECT * FROM range(200000)"],
        ["sql", "--format", "table", "SELECT * FROM range(200000)"],
        ["top", "--concept", "upos=NOUN", "--limit", "90"],
    ],
)
def test_a_reader_that_stops_early(command: list[str], finished: Path) -> None:
    name, *rest = command
    arguments = [sys.executable, "-m", "jobs", name, "--store", str(finished), *rest]
    with subprocess.Popen(
        arguments, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        said = running.stderr.read()
        running.wait(timeout=60)
    assert said == b"", said.decode()


def test_ctrl_c_says_how_to_go_on(workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(
        tmp_path / "config.yaml", tmp_path / "store", dump={"rows_per_shard": 80, "token_budget": 16}
    )
    done("plan", config, "--no-pilot")
    command = [sys.executable, "-m", "jobs", "dump", str(config)]
    with subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until = time.monotonic() + 60
        while running.poll() is None and not list((tmp_path / "store").glob("receipts/dump-*/*")):
            assert time.monotonic() < until
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    if running.returncode == 0:
        pytest.skip("the run was over before it could be stopped")
    assert running.returncode == 1
    assert b"Traceback" not in said, said.decode()
    assert b"start the same command again to resume" in said
    assert "already done" in done("dump", config).err
    done("verify", "--store", tmp_path / "store")


def test_plain_progress_is_whole_lines(capfd: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress()
    progress.start("dump", 4, "shards", finished=1)
    progress.shown = progress.started = time.monotonic() - 10
    progress.advance(1, n_rows=5000)
    progress.finish("done")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "dump: 4 shards, 1 already done …"
    assert re.fullmatch(r"dump: 2/4 shards, \d{3} rows/s, \d+s left", lines[1])
    assert re.fullmatch(r"dump: done \(.*s\)", lines[2])
    progress.start("dump", 1, "shards")
    assert capfd.readouterr().err == "dump: 1 shard …\n"


def test_amounts_for_people() -> None:
    assert [counted(n, "shard") for n in (0, 1, 2000)] == ["0 shards", "1 shard", "2,000 shards"]
    assert [counted(n, "query", "queries") for n in (1, 2)] == ["1 query", "2 queries"]
    assert [human_bytes(n) for n in (0, 999, 1500, 2.5e9, 3e12)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3.0 TB"]
    assert [human_seconds(n) for n in (0.04, 9.9, 59, 95, 3700)] == ["0.0s", "9.9s", "59s", "1m35s", "1h01m"]
