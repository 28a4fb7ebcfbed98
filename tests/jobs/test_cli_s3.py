"""Every command on a store behind `s3://` does and says what it does on a folder."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import Result, Workplace, done, neuronmill

sys.path.append(str(Path(__file__).resolve().parents[1] / "store"))  # its server serves here too

from fault_proxy import FaultProxy
from s3_server import BUCKET, running_server, talking_to

from jobs.main import COMMANDS
from pipeline.store.open_storage import open_storage
from pipeline.store.retries import PATIENCE
from pipeline.store.storage import Storage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
STORE = f"s3://{BUCKET}/parity"
BEST = "SELECT * EXCLUDE (run_id) FROM rankings ORDER BY ALL LIMIT 40"
MEANS = (
    "SELECT layer, concept, round(avg(n0001), 9) AS m FROM activations_mlp JOIN labels USING (row_id) "
    "GROUP BY ALL ORDER BY ALL"
)
#: Few files, because each costs a handful of requests in every command.
DUMP = {"components": ["mlp"], "layers": [1, 2], "rows_per_shard": 500}
NOW = ["--older-than", "0s"]
STATUS = ["status", "--format", "json"]

#: What the store is made of, one after the other.
STAGES = ("dump", "stats", "search", "contexts", "publish")
#: Commands that change nothing in a finished store.
READING = {
    "top": ["top", "--concept", "upos=NOUN", "--no-colour"],
    "sql": ["sql", "--format", "csv", BEST],
    "sql over activations": ["sql", "--format", "json", MEANS],
    "sql tables": ["sql"],
    "status": STATUS,
    "status of a stage": [*STATUS, "--stage", "dump"],
    "verify": ["verify"],
    "gc": ["gc"],
    "compact --dry-run": ["compact", "--dry-run"],
    "publish": ["publish"],
    "publish --dry-run": ["publish", "--dry-run"],
    "agree": ["agree", "--k", "5"],
    **{f"{stage} again": [stage] for stage in STAGES[:-1]},
    "search --dry-run": ["search", "--dry-run"],
}
#: Compaction and cleaning, in this order, of a copy of the store.
REWRITING = {
    "compact": ["compact", "--rows", "1000"],
    "compact again": ["compact", "--rows", "1000"],
    "status of long files": STATUS,
    "long files by SQL": ["sql", "--format", "json", MEANS],
    "publish the long files": ["publish"],
    "gc too early": ["gc", "--superseded", "--keep-snapshots", "1"],
    "gc --dry-run": ["gc", "--superseded", "--keep-snapshots", "1", *NOW, "--dry-run"],
    "gc --superseded": ["gc", "--superseded", "--keep-snapshots", "1", *NOW],
    "gc again": ["gc", "--superseded", "--keep-snapshots", "1", *NOW],
    "verify without the short files": ["verify"],
    "search in what is left": ["search", "--keep", "3", "--null"],
    "explain": ["explain", "--length", "2"],
    "correlate": ["correlate", "--with", "tiny", "--layers", "1", "--methods", "maxcorr,cka", "--column", "length"],
    "words": ["words", "--min-count", "2"],
    "cluster": ["cluster", "--components", "mlp", "--threshold", "0.3,0.6", "--edges", "0.5"],
    "map": ["map", "--groups", "3"],
    "factors": ["factors", "--factors", "3", "--components", "mlp", "--rows-per-factor", "all"],
    "publish what is left": ["publish"],
    "gc of the search before": ["gc", "--superseded", "--keep-snapshots", "1", *NOW],
    "status after cleaning": STATUS,
    "SQL after cleaning": ["sql", "--format", "json", MEANS],
}
#: With damage (:data:`DAMAGES`) in another copy.
REPAIRING = {
    "status of a damaged store": STATUS,
    "verify --repair --dry-run": ["verify", "--repair", "--dry-run"],
    "verify --repair": ["verify", "--repair"],
    "verify after the repair": ["verify"],
}
_ARRAY = ["import", "X.npy", "--labels", "L.tsv", "--model", "mine", "--component", "mlp", "--layer"]
#: A store of other programs' activations, from nothing.
EXCHANGING = {
    "import --dry-run": [*_ARRAY, "3", "--dry-run"],
    "import": [*_ARRAY, "3"],
    "import again": [*_ARRAY, "3"],
    "import of a further layer": [*_ARRAY, "4"],
    "status of an import": STATUS,
    "search": ["search"],
    "export --dry-run": ["export", "--format", "npy", "--output", "Y-{layer}.npy", "--dry-run"],
    "export": ["export", "--format", "npy", "--output", "Y-{layer}.npy"],
    "verify of an import": ["verify"],
}
#: Commands with a test of their own below.
ALONE = {"init": "test_init_and_run", "run": "test_init_and_run", "plan": "test_a_plan", "report": "test_the_same_page"}
#: Commands that have no remote self, with where their refusal is tested.
LOCAL_ONLY = {"annotate": "test_cli_new_store.py::test_annotation_needs_a_local_folder"}


def test_every_command_is_compared() -> None:
    tables = (READING, REWRITING, REPAIRING, EXCHANGING)
    compared = {arguments[0] for table in tables for arguments in table.values()}
    assert compared | ALONE.keys() | LOCAL_ONLY.keys() == COMMANDS.keys()
    assert not compared & LOCAL_ONLY.keys()
    assert all(callable(globals()[name]) for name in ALONE.values())
    for place in LOCAL_ONLY.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as url, talking_to(url, attempts=1):
        yield url


@pytest.fixture(scope="module")
def local(workplace: Workplace) -> Path:
    """The store of a whole `neuronmill run` on this disk."""
    store = workplace.folder / "local"
    done("run", workplace.config(workplace.folder / "local.yaml", store, dump=DUMP))
    return store


@pytest.fixture(scope="module")
def remote(server: str, workplace: Workplace) -> str:
    """The store of the stages, one after the other, by the config that the local one was made with."""
    done("plan", s3_config(workplace), "--no-pilot")
    for stage in STAGES:
        done(stage, "--store", STORE)
    return STORE


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder in which nothing else stages: `gc` names what was left there, whatever store it was for."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture(scope="module")
def copies(remote: str, local: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Copies of the remote and of the local store to change; a test leaves them whole."""
    urls = [f"s3://{BUCKET}/copy", str(tmp_path_factory.mktemp("copy") / "store")]
    for source, url in zip((remote, local), urls, strict=True):
        origin, copy = open_storage(str(source)), open_storage(url)
        for path in files(origin):
            copy.put(path, origin.read(path))
    return urls


def files(storage: Storage) -> list[str]:
    """Everything in a store but staging and the page, which a remote store has not."""
    if storage.is_local:
        root = Path(storage.root)
        found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    else:
        found = [name.removeprefix(f"{storage.base}/") for name in storage.filesystem.find(storage.base)]
    return sorted(path for path in found if path != "report.html" and not path.startswith("staging/"))


def contents(url: str) -> dict[str, bytes]:
    """Files of tables and activations, by their names without the hash that a remote store adds."""
    storage = open_storage(url)
    return {
        unhashed(path): storage.read(path)
        for path in files(storage)
        if path.endswith(".parquet") and path.split("/")[0] not in ("shards", "runs")  # they tell times and files
    }


def s3_config(workplace: Workplace) -> Path:
    folder = workplace.folder
    return workplace.config(folder / "remote.yaml", STORE, dump=DUMP, report={"path": str(folder / "remote.html")})


def unhashed(text: str) -> str:
    without = re.sub(r"\.[0-9a-f]{12}(?=\.[a-z]+\b)", "", text)
    return re.sub(r"(?<=/)[0-9a-f]{12}(?=\.(json|parquet)\b)", "…", without)


#: What two runs of one command differ in: durations and rates, times, sizes of records (names of remote files are
#: longer), a snapshot's name, which stands for the names of its files, and the numbers of manifests.
_OF_A_RUN = re.compile(
    r"\([^()]*/s\)|\b[\d.]+ ?(B|kB|MB|GB)\b|\d+\.\d ?s\b|snapshots?/[0-9a-f]{16}|snapshot [0-9a-f]{16}|[\d,]+ files"
    r'|"(recent_rate|overall_rate|seconds_left|last_activity|snapshot)": [^,}]+|sha256: \w+ instead of \w+'
)


def said(text: str, store: object) -> str:
    """Without the store's address, what differs between two runs of one command, and hashes of contents in names."""
    return unhashed(_OF_A_RUN.sub("…", text.replace(str(store), "STORE")))


def same(arguments: list[str], *stores: object) -> Result:
    """Run the command on both stores: they say the same, and end with the same code; the remote one's result."""
    name, *rest = arguments
    there, here = (neuronmill(name, *rest, "--store", store) for store in stores)
    assert said(there.out, stores[0]) == said(here.out, stores[1])
    assert there.code == here.code, there.err
    if "error: " in there.err:
        assert said(there.error, stores[0]) == said(here.error, stores[1])
    return there


@pytest.mark.parametrize("case", READING)
def test_the_same_answer(case: str, remote: str, local: Path) -> None:
    result = same(READING[case], remote, local)
    assert result.code == 0, result.err
    assert result.out


#: File (by its start) → what happens to it.
DAMAGES = {
    "activations/model=tiny/component=mlp/layer=1/block=0/shard-00001": "flip",
    "activations/model=tiny/component=mlp/layer=2/block=0/shard-00002": "lose",
    "labels/": "cut",
    "rankings/": "lose",
}


def damage(url: str) -> None:
    storage = open_storage(url)
    for start, kind in DAMAGES.items():
        path = next(path for path in files(storage) if path.startswith(start))
        content = bytearray(storage.read(path))
        if kind == "flip":
            content[len(content) // 2] ^= 1
        storage.delete(path)
        if kind != "lose":
            storage.put(path, bytes(content[:-7] if kind == "cut" else content))


def test_repair(copies: list[str]) -> None:
    before = [contents(url) for url in copies]
    for url in copies:
        damage(url)
    answers = {case: same(arguments, *copies) for case, arguments in REPAIRING.items()}
    assert [case for case, result in answers.items() if result.code] == ["verify --repair --dry-run"]
    assert f"{len(DAMAGES)} problems, {len(DAMAGES)} pieces" in answers["verify --repair --dry-run"].out
    assert f"{len(DAMAGES)} pieces done again, 0 left" in answers["verify --repair"].out
    assert [contents(url) for url in copies] == before


def test_compaction_and_cleaning(copies: list[str]) -> None:
    answers = {case: same(arguments, *copies) for case, arguments in REWRITING.items()}
    # what is not published yet is not complete
    assert [case for case, result in answers.items() if result.code] == ["status of long files"]
    assert "nothing to do" in answers["compact again"].err
    assert answers["long files by SQL"].out == answers["SQL after cleaning"].out
    assert "would remove activations/" in answers["gc --dry-run"].out
    for case, kinds in (
        ("gc --superseded", ("superseded", "old snapshots")),
        ("gc of the search before", ("superseded",)),
    ):
        assert all(kind in answers[case].out for kind in kinds), answers[case].out
    assert answers["gc again"].out == "nothing to remove\n"
    there, here = (contents(url) for url in copies)
    assert there == here
    assert sum("shard-00000-" in path for path in there) > 0
    assert not any(path.startswith("activations/") and path.endswith("/shard-00000.parquet") for path in there)


def test_import_and_export(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noun = rng.random(60) < 0.3
    lines = [f"s{i // 6}\tw{i}\t{int(n)}" for i, n in enumerate(noun)]
    stores, exported = (f"s3://{BUCKET}/imported", "imported"), []
    answers: list[dict[str, str]] = []
    values = rng.normal(size=(60, 4)).astype(np.float16)
    for number, store in enumerate(stores):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        np.save("X.npy", values)
        Path("L.tsv").write_text("\n".join(["sentence\tword\tnoun", *lines]) + "\n")
        answers.append({})
        for case, arguments in EXCHANGING.items():
            result = neuronmill(*arguments, "--store", store)
            assert result.code == (1 if "status" in arguments else 0), result.err  # statistics are not asked for
            answers[-1][case] = said(result.out, Path(store).resolve() if number else store)
        exported.append([Path(name).read_bytes() for name in ("Y-3.npy", "Y-4.npy", "Y.tsv")])
    assert answers[0] == {case: out.replace("imported", "STORE") for case, out in answers[1].items()}
    assert exported[0] == exported[1]
    assert exported[0][0] == Path("X.npy").read_bytes()
    assert contents(stores[0]) == contents(stores[1])


def test_the_same_page(remote: str, local: Path, tmp_path: Path) -> None:
    pages = []
    for number, store in enumerate((remote, local)):
        done("report", "--store", store, "--output", tmp_path / f"{number}.html")
        pages.append((tmp_path / f"{number}.html").read_text())
    assert len(pages[0]) == pytest.approx(len(pages[1]), rel=0.01)
    assert pages[0].count("upos=NOUN") == pages[1].count("upos=NOUN") > 0


def test_a_plan(remote: str, local: Path, workplace: Workplace) -> None:
    config = workplace.folder / "local.yaml"
    answers = [done("plan", config, "--store", store, "--no-pilot") for store in (remote, local)]
    assert said(answers[0].out, remote) == said(answers[1].out, local)
    assert answers[0].out.startswith("run ")


@pytest.mark.slow  # the pilot is a process that imports torch: 5 to 30 s
def test_a_plan_with_a_pilot_leaves_nothing_else(server: str, workplace: Workplace, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/pilot"
    assert "by a pilot of " in done("plan", workplace.config(tmp_path / "a.yaml", url)).out
    left = open_storage(url)
    assert left.list("staging") + left.list("activations") == []
    assert left.list("receipts")


def test_init_and_run(remote: str, workplace: Workplace, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    done("init", "--corpus", workplace.corpus, "--model", workplace.model, "--store", STORE, "--output", new)
    assert yaml.safe_load(new.read_text())["store"] == STORE
    result = done("run", s3_config(workplace))  # everything is there but the page
    assert "already done" in result.err
    assert (workplace.folder / "remote.html").is_file()
    assert f"store: {STORE}" in result.out


def test_a_store_that_is_cut_off_is_one_error(
    server: str, remote: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultProxy(server)
    proxy.is_cut = True
    with talking_to(proxy.url, attempts=1):
        monkeypatch.setenv(PATIENCE, "0.5")
        for arguments in (
            ["run", s3_config(workplace)],
            ["verify", "--store", STORE],
            ["sql", "--store", STORE, "SELECT 1"],
        ):
            result = neuronmill(*arguments)
            assert result.code == 1, result.err
            for part in (STORE, "tried for 0.5 s", "check the connection"):
                assert part in result.error
        monkeypatch.delenv(PATIENCE)
        proxy.is_cut = False
        done("sql", "--store", STORE, "SELECT 1")
    proxy.stop()


def test_a_bucket_that_is_not_there(server: str, workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "run.yaml", "s3://no-such-bucket/store", report={"path": str(tmp_path / "p")})
    result = neuronmill("run", config)
    assert result.code == 1
    assert "s3://no-such-bucket/store" in result.error
