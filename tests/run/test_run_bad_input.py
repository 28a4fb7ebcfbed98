"""What goes wrong is named, and nothing of it is ever visible: bad sentences, NaN, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import RARE_WORD, checksums, plan_only, run_stages, tables

from jobs.main import main
from pipeline.run.dump import dump
from pipeline.run.dump_files import dump_stage
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import CorpusError, IncompleteError, StoreError

FEW = {"layers": [0, 1], "components": ["resid"]}


def test_a_bad_sentence_stops_the_plan_or_is_put_into_quarantine(inputs, tmp_path):
    text = inputs.test.read_text(encoding="utf-8")
    bad = tmp_path / "bad.conllu"
    first, _, rest = text.partition("\n\n")
    bad.write_text(f"{first}\n\n1\tno\tsuch\tline\n\n{rest}", encoding="utf-8")
    line = first.count("\n") + 3
    corpus = {"sources": [str(inputs.train), str(bad)]}
    with pytest.raises(CorpusError, match=rf"bad\.conllu:{line}"):
        plan_only(inputs.config(tmp_path / "strict", corpus=corpus, dump=FEW))
    found = run_stages(inputs.config(tmp_path / "store", corpus={**corpus, "on_error": "skip"}, dump=FEW))
    with tables(found.store) as read:
        ((source, at, rule, excerpt),) = read.rows("SELECT source, line, rule, excerpt FROM quarantine")
        assert (source, at) == (str(bad), line)
        assert rule
        assert excerpt.startswith("1\tno\tsuch\tline")
        assert read.rows("SELECT count(*) FROM sentences") == [(180,)]
    assert verify(found.store) == []


@pytest.fixture
def poisoned(inputs, tmp_path):
    """Inputs whose model gives NaN for one token, which one sentence of the corpus has."""
    shutil.copytree(inputs.model, tmp_path / "tiny")
    weights = tmp_path / "tiny" / "model.safetensors"
    tensors = load_file(weights)
    letter = 4 + "abcdefghijkl".index(RARE_WORD)  # its place in the tokenizer's vocabulary
    tensors["embeddings.word_embeddings.weight"][letter, 3] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
    return replace(inputs, model=tmp_path / "tiny")


def test_nan_from_the_model_fails_the_shard_by_name_and_leaves_nothing_of_it(poisoned, finished, tmp_path, capsys):
    with tables(finished.store) as read:
        ((sentence,),) = read.rows("SELECT sentence_id FROM words WHERE word = ?", RARE_WORD)
    shards = finished.plan.shards
    (shard,) = [s for s in shards if 0 <= sentence - s.first_sentence < s.n_sentences]
    config = poisoned.config_file(tmp_path / "run.yaml", tmp_path / "store")
    for n_tasks in (6, 1):  # starting again tries that shard only, and fails again
        with pytest.raises(SystemExit) as stop:
            main(["run", str(config)])
        assert stop.value.code == 1
        said = capsys.readouterr().err
        assert f"1 of {n_tasks} tasks failed ({shard.key})" in said
        assert f"first failure, {shard.key}: {shard.key}: resid layer 0 neuron 0: the model produced nan" in said
        assert "Traceback" not in said
    store = Store.open(str(tmp_path / "store"))
    plan = load_plan(store)
    assert sorted(store.receipts(dump_stage(plan))) == [s.key for s in shards if s != shard]
    assert not list((tmp_path / "store" / "activations").rglob(f"{shard.key}.parquet"))
    assert not list((tmp_path / "store" / "staging").rglob("*.parquet"))
    assert verify(store) == []
    with tables(store) as read:
        assert read.rows("SELECT count(*) FROM activations") == [(0,)]
        assert read.rows("SELECT count(*) FROM rows") == [(plan.n_rows,)]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_the_dump(inputs, small_disk):
    found = plan_only(inputs.config(small_disk / "store"))
    before = checksums(small_disk / "store")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - found.plan.n_bytes // 2))
    with pytest.raises(StoreError, match=r"MB are needed and .* MB are free"):
        dump(found.plan, found.store, LocalExecutor(), Silent())
    assert checksums(small_disk / "store") == before
    (small_disk / "ballast").unlink()
    dump(found.plan, found.store, LocalExecutor(), Silent())
    assert verify(found.store) == []


def test_a_disk_that_is_full_in_the_middle_names_the_shard_and_resumes(inputs, finished, small_disk):
    found = plan_only(inputs.config(small_disk / "store"))
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - found.plan.n_bytes - 40_000))  # footers are not in the estimate
    with pytest.raises(IncompleteError, match=r"of 6 tasks failed \(.*shard-0000\d") as error:
        dump(found.plan, found.store, LocalExecutor(), Silent())
    assert "No space left" in str(error.value)
    (small_disk / "ballast").unlink()
    assert verify(found.store) == []
    dump(found.plan, found.store, LocalExecutor(), Silent())
    reference = checksums(finished.store.url)
    assert all(reference[path] == digest for path, digest in checksums(small_disk / "store").items())
