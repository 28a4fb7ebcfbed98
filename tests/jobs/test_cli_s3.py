"""Every command on a store behind `s3://` does and says what it does on a folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import Workplace, done, neuronmill

sys.path.append(str(Path(__file__).resolve().parents[1] / "store"))  # its server serves here too

from fault_proxy import FaultProxy
from s3_server import BUCKET, running_server, talking_to

from pipeline.store.retries import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
STORE = f"s3://{BUCKET}/parity"
BEST = "SELECT * EXCLUDE (run_id) FROM rankings ORDER BY ALL LIMIT 40"
MEANS = (
    "SELECT layer, concept, avg(n0001) AS m FROM activations_mlp JOIN labels USING (row_id) GROUP BY ALL ORDER BY ALL"
)

READING = {
    "top": ["top", "--concept", "upos=NOUN", "--no-colour"],
    "sql": ["sql", "--format", "csv", BEST],
    "sql over activations": ["sql", "--format", "json", MEANS],
    "sql tables": ["sql"],
    "verify": ["verify"],
    "publish": ["publish"],
    "publish --dry-run": ["publish", "--dry-run"],
    "dump": ["dump"],
    "stats": ["stats"],
    "search": ["search"],
    "contexts": ["contexts"],
    "search --dry-run": ["search", "--dry-run"],
}


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with running_server() as url:
        found = FaultProxy(url)
        with talking_to(found.url, attempts=1):
            yield found
        found.stop()


@pytest.fixture(scope="module")
def remote(proxy: FaultProxy, workplace: Workplace) -> str:
    """The store of the stages, one after the other, by the config that the local one was made with."""
    config = s3_config(workplace)
    done("plan", config)
    for stage in ("dump", "stats", "search", "contexts", "publish"):
        done(stage, "--store", STORE)
    return STORE


def s3_config(workplace: Workplace) -> Path:
    folder = workplace.folder
    return workplace.config(folder / "remote.yaml", STORE, report={"path": str(folder / "remote.html")})


def said(text: str, store: object) -> str:
    """Without the store's address, a store's number of files, and what differs between two runs of one command."""
    return re.sub(r"snapshots?/[0-9a-f]{16}|snapshot [0-9a-f]{16}|\d+\.\d s|[\d,]+ files", "…", text).replace(
        str(store), "STORE"
    )


@pytest.mark.parametrize("case", READING)
def test_the_same_answer(case: str, remote: str, finished: Path) -> None:
    name, *rest = READING[case]
    answers = [done(name, "--store", store, *rest).out for store in (remote, finished)]
    assert said(answers[0], remote) == said(answers[1], finished)
    assert answers[0]


def test_the_same_page(remote: str, finished: Path, tmp_path: Path) -> None:
    pages = []
    for number, store in enumerate((remote, finished)):
        done("report", "--store", store, "--output", tmp_path / f"{number}.html")
        pages.append((tmp_path / f"{number}.html").read_text())
    assert len(pages[0]) == pytest.approx(len(pages[1]), rel=0.01)
    assert pages[0].count("upos=NOUN") == pages[1].count("upos=NOUN") > 0


def test_init_and_run(remote: str, workplace: Workplace, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    done("init", "--corpus", workplace.corpus, "--model", workplace.model, "--store", STORE, "--output", new)
    assert yaml.safe_load(new.read_text())["store"] == STORE
    result = done("run", s3_config(workplace))  # everything is there but the page
    assert "already done" in result.err
    assert (workplace.folder / "remote.html").is_file()
    assert f"store: {STORE}" in result.out


def test_a_store_that_is_cut_off_is_one_error(
    proxy: FaultProxy, remote: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "0.5")
    proxy.is_cut = True
    for arguments in (
        ["run", s3_config(workplace)],
        ["verify", "--store", STORE],
        ["sql", "--store", STORE, "SELECT 1"],
    ):
        result = neuronmill(*arguments)
        assert result.code == 1, result.err
        for part in (STORE, "tried for 0.5 s", "check the connection"):
            assert part in result.error
    proxy.is_cut = False
    done("verify", "--store", STORE)


def test_a_bucket_that_is_not_there(proxy: FaultProxy, workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "run.yaml", "s3://no-such-bucket/store", report={"path": str(tmp_path / "p")})
    result = neuronmill("run", config)
    assert result.code == 1
    assert "s3://no-such-bucket/store" in result.error
