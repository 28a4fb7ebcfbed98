"""The scales of an int8 dump decide all its values: damage is noticed, and they are made again with the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import cut, flip, unlink
from tiny_run import Finished, Inputs, checksums, plan_only

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_check import check_plans
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.repair import RepairReport, repair
from pipeline.run.scales import load_scales
from pipeline.store import Store
from pipeline.store.problems import Problem
from pipeline.store.verify import verify
from schemas.errors import IntegrityError

EIGHT_BITS = {"dtype": "int8", "layers": [0, 1]}


@pytest.fixture(scope="module")
def dumped(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    found = plan_only(inputs.config(tmp_path_factory.mktemp("int8") / "store", dump=EIGHT_BITS))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    return found


@pytest.fixture
def copy(dumped: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dumped.store.url, tmp_path / "store"))


def _problems(folder: Path) -> list[Problem]:
    store = Store.open(str(folder))
    return verify(store) + check_plans(store)


def _repair(folder: Path) -> RepairReport:
    return repair(Store.open(str(folder)), _problems(folder), LocalExecutor(), Silent())


def _plan(folder: Path) -> tuple[Plan, Store]:
    store = Store.open(str(folder))
    return load_plan(store), store


def _scales(folder: Path) -> Path:
    (file,) = folder.glob("states/*/scales.parquet")
    return file


def _receipt(folder: Path) -> Path:
    (file,) = folder.glob("receipts/scales-*/pilot.json")
    return file


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", [unlink, cut, flip])
def test_damaged_scales_are_chosen_again(damage: Callable[[Path], None], copy: Path) -> None:
    file, before, data = _scales(copy), _sha256(_scales(copy)), checksums(copy)
    receipt = _receipt(copy).read_bytes()
    damage(file)
    (problem,) = _problems(copy)
    assert problem.path == str(file.relative_to(copy))
    assert problem.receipts == (str(_receipt(copy).relative_to(copy)),)
    report = _repair(copy)
    assert (report.failed, report.removed, report.redone) == ({}, [], list(problem.receipts))
    assert (_problems(copy), _sha256(file), checksums(copy)) == ([], before, data)
    assert _receipt(copy).read_bytes() == receipt


@pytest.mark.parametrize("damage", [unlink, lambda file: file.write_bytes(b"{")])
def test_a_lost_or_torn_receipt_of_scales(damage: Callable[[Path], None], copy: Path) -> None:
    receipt, before = _receipt(copy), _sha256(_scales(copy))
    damage(receipt)
    (problem,) = _problems(copy)
    assert problem.path == str(receipt.relative_to(copy))
    assert _repair(copy).failed == {}
    assert (_problems(copy), _sha256(_scales(copy))) == ([], before)


def test_scales_and_activations_at_once(copy: Path) -> None:
    before = checksums(copy)
    flip(_scales(copy))
    flip(next(copy.glob("activations/*/component=resid/layer=1/*/shard-00002.parquet")))
    report = _repair(copy)
    assert (report.failed, len(report.redone)) == ({}, 2)
    assert (_problems(copy), checksums(copy)) == ([], before)


@pytest.mark.parametrize("damage", [unlink, cut, flip])
def test_nothing_is_dumped_by_damaged_scales(damage: Callable[[Path], None], copy: Path) -> None:
    plan, store = _plan(copy)
    next(copy.glob("receipts/dump-*/shard-00001.json")).unlink()
    damage(_scales(copy))
    with pytest.raises(IntegrityError, match=r"scales\.parquet, which holds the scales.*verify --repair"):
        load_scales(plan, store)
    with pytest.raises(IntegrityError, match=r"scales\.parquet, which holds the scales"):
        dump(plan, store, LocalExecutor(), Silent())


def test_other_scales_are_refused_and_what_is_there_stays(copy: Path) -> None:
    """The record asks for what the same work does not give: as if the machine computed otherwise now."""
    file, receipt = _scales(copy), _receipt(copy)
    receipt.write_text(receipt.read_text().replace(_sha256(file), "0" * 64))
    before = receipt.read_bytes(), file.read_bytes()
    (problem,) = _problems(copy)
    report = _repair(copy)
    assert "gives other bytes now" in report.failed[problem.receipts[0]]
    assert (receipt.read_bytes(), file.read_bytes()) == before


def test_other_libraries_choose_no_scales(copy: Path) -> None:
    path = copy / "plans" / "tiny.json"
    record = json.loads(path.read_text())
    record["libraries"]["torch"] = "1.0"
    path.write_text(json.dumps(record))
    cut(_scales(copy))
    receipt = _receipt(copy).read_bytes()
    report = _repair(copy)
    (why,) = report.failed.values()
    assert "planned with torch 1.0" in why
    assert _receipt(copy).read_bytes() == receipt
