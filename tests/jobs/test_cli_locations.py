"""A store by relative path, with spaces and other scripts in its name, by file URL, and on S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Workplace, done, hashes, neuronmill, process

_COUNT = "SELECT count(*) FROM rankings"


@pytest.mark.parametrize("store", ["store", "../here/./store", "my store", "лавка — 店's", "a%20b", "[x]*"])
def test_a_store_anywhere(
    store: str, workplace: Workplace, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done("run", workplace.config(Path("config.yaml"), store))
    assert hashes(Path(store) / "rankings") == hashes(finished / "rankings")
    assert done("sql", "--store", store, "--format", "csv", "SELECT count(n0001) FROM activations_mlp").out
    assert "NOUN" in done("top", "--store", store, "--concept", "upos=NOUN", "--limit", "1").out
    done("verify", "--store", store)
    monkeypatch.chdir(tmp_path)
    done("verify", "--store", Path("here", store))


def test_a_file_url(workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a store"
    config = workplace.config(tmp_path / "config.yaml", "elsewhere")
    done("run", config, "--store", url)
    assert hashes(tmp_path / "a store" / "rankings") == hashes(finished / "rankings")
    assert (tmp_path / "a store" / "report.html").exists()
    assert "NOUN" in done("top", "--store", url, "--concept", "upos=NOUN", "--limit", "1").out


@pytest.mark.parametrize("url", ["nosuch://bucket/store", "s3://", "", "what?"])
def test_a_url_that_leads_nowhere(url: str, workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", "elsewhere")
    for arguments in (["plan", config, "--store", url], ["sql", "--store", url, "SELECT 1"]):
        result = neuronmill(*arguments)
        assert result.code == 2, result.err
        assert result.error.startswith("store"), result.error


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="needs the extra `s3`")
    moto_server = pytest.importorskip("moto.server", reason="needs moto[server], of the extra `dev`")
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        import boto3
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # it would go on with another test's server
        client = boto3.client("s3")
        client.create_bucket(Bucket="cli")
        client.close()
        yield "s3://cli"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_whole_run_on_s3(bucket: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, here = f"{bucket}/some/store", tmp_path / "here"
    small = {"dump": {"rows_per_shard": 700, "layers": [1]}, "report": {"path": str(tmp_path / "page.html")}}
    config = workplace.config(tmp_path / "config.yaml", store, **small)
    done("run", config, "--store", here)
    done("plan", config, "--no-pilot")
    for stage in ("dump", "stats", "search", "contexts"):
        done(stage, "--store", store)
    assert f"{store}/snapshots/" in done("publish", "--store", store).out
    done("report", "--store", store)
    assert "upos=NOUN" in Path("page.html").read_text(encoding="utf-8")
    count = done("sql", "--store", store, "--format", "csv", _COUNT).out
    assert count == done("sql", "--store", here, "--format", "csv", _COUNT).out
    mean = "SELECT avg(n0003), count(*) FROM activations_mlp"
    assert (
        done("sql", "--store", store, "--format", "csv", mean).out
        == done("sql", "--store", here, "--format", "csv", mean).out
    )
    top = ["--concept", "upos=NOUN", "--limit", "3"]
    assert done("top", "--store", store, *top).out == done("top", "--store", here, *top).out
    assert "all as their receipts say" in done("verify", "--store", store).out
    again = done("run", config)
    assert "already done" in again.err
    assert not any("s3:" in name for name in map(str, tmp_path.iterdir()))
    result = neuronmill("sql", "--store", f"{bucket}/empty", "SELECT 1")
    assert result.code == 2
    assert "no store here" in result.error
    result = neuronmill("plan", config, "--store", "s3://no-such-bucket/store")
    assert result.code == 1
    assert "no-such-bucket" in result.error
    assert "check the URL and the credentials" in result.error


def test_s3_without_credentials(
    bucket: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    config = workplace.config(tmp_path / "config.yaml", f"{bucket}/other")
    result = process("plan", config)
    assert result.returncode == 1, result.stderr
    assert b"credentials" in result.stderr
    assert b"Traceback" not in result.stderr
