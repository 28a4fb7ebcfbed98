"""Verification of what was planned: per shard, plan, receipts and tables count the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.dump_files import SCALES_KEY, compact_key, compact_stage, dump_stage, scales_stage, series_of
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.plans import load_plan, planned_models
from pipeline.store import paths
from pipeline.store.manifest import Manifest
from pipeline.store.problems import Problem
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.store import Store
from pipeline.store.vouchers import Vouchers, read_vouchers
from schemas.amounts import counted
from schemas.errors import NeuronmillError

#: Lines per shard of the tables of the corpus and of a row space, as the plan names them.
_COUNTS = {"sentences": "n_sentences", "words": "n_words", "rows": "n_rows", "tokens": "n_tokens"}


def readable_plans(store: Store) -> tuple[list[Plan], list[Problem]]:
    """The store's plans, and a problem for each that cannot be read."""
    plans, problems = [], []
    for alias in planned_models(store):
        try:
            plans.append(load_plan(store, alias))
        except (ValueError, KeyError, TypeError, AttributeError, NeuronmillError) as error:
            what = f"cannot be read ({str(error).splitlines()[0]})"
            problems.append(Problem(f"plans/{alias}.json", "plan", what))
    return plans, problems


def check_plans(store: Store) -> list[Problem]:
    """Problems of the store's plans; every model is held against the receipts of its shards and the manifest."""
    plans, problems = readable_plans(store)
    if plans:
        try:
            load_corpus_record(store)
        except (ValueError, KeyError, TypeError, NeuronmillError) as error:
            problems.append(Problem("corpus.json", "plan", f"cannot be read ({str(error).splitlines()[0]})"))
    vouchers = read_vouchers(store.storage)
    torn = {record.path for record in vouchers.torn}
    for plan in plans:
        found = (
            *_check_receipts(plan, vouchers),
            *_check_scales(plan, vouchers),
            *_check_manifest(plan, vouchers.manifest),
            *_check_listed(plan, vouchers),
        )
        # a torn record is a problem of its own
        problems.extend(problem for problem in found if problem.path not in torn)
    return list(dict.fromkeys(problems))


def _check_receipts(plan: Plan, vouchers: Vouchers) -> Iterator[Problem]:
    """Every shard has a receipt of the corpus and of its rows, with the planned counts; so has what is dumped."""
    for shard in plan.shards:
        for stage in ("corpus", f"rows-{plan.row_space}"):
            path = paths.receipt_file(stage, shard.key)
            receipt = vouchers.receipts.get(path)
            if receipt is None:
                yield Problem(path, "missing", "the shard is planned, and has no such receipt", (path,))
            else:
                yield from _check_counts(path, receipt, shard)
        path = paths.receipt_file(dump_stage(plan), shard.key)
        for entry in vouchers.receipts[path].files if path in vouchers.receipts else ():
            if entry.n_rows != shard.n_rows:
                yield Problem(
                    entry.path, "plan", f"{counted(entry.n_rows, 'row')}, and {shard.n_rows:,} planned for {shard.key}"
                )


def _check_counts(path: str, receipt: Receipt, shard: ShardPlan) -> Iterator[Problem]:
    planned = asdict(shard)
    if not _agrees(receipt.facts, planned):
        both = planned.keys() & receipt.facts.keys()
        differing = {key: (receipt.facts[key], planned[key]) for key in both if receipt.facts[key] != planned[key]}
        yield Problem(path, "plan", f"says otherwise than the plan: {json.dumps(differing)}", (path,))
    for entry in receipt.files:
        count = _COUNTS.get(entry.path.partition("/")[0])
        if count is not None and entry.n_rows != planned[count]:
            lines = counted(entry.n_rows, "line")
            yield Problem(entry.path, "plan", f"{lines}, and {count} of the plan is {planned[count]:,}")


def _check_scales(plan: Plan, vouchers: Vouchers) -> Iterator[Problem]:
    """A dump in int8 that has begun has the receipt of its scales."""
    path = paths.receipt_file(scales_stage(plan), SCALES_KEY)
    if plan.capture.dtype != "int8" or plan.is_imported or path in vouchers.receipts:
        return
    stages = {dump_stage(plan), compact_stage(plan)}
    if any(receipt.stage in stages for receipt in vouchers.receipts.values()):
        yield Problem(path, "missing", "shards are dumped in int8, and the receipt of their scales is gone", (path,))


def _agrees(facts: Mapping[str, object], planned: Mapping[str, object]) -> bool:
    """Whether the facts that both have are the same."""
    return all(facts[key] == value for key, value in planned.items() if key in facts)


def _check_listed(plan: Plan, vouchers: Vouchers) -> Iterator[Problem]:
    """Shards of activations and labels that the manifest lists have a receipt."""
    known = {entry.path for receipt in vouchers.receipts.values() for entry in receipt.files}
    for table, scope in (("activations", plan.run_id), *(("labels", s) for s in vouchers.manifest.scopes("labels"))):
        for entry in vouchers.manifest.files(table, scope):
            if entry.path not in known and entry.shard is not None:
                path = _receipt_of(plan, entry)
                if path not in vouchers.receipts:
                    yield Problem(path, "missing", "the manifest lists the shard, and no receipt does", (path,))


def _receipt_of(plan: Plan, entry: FileEntry) -> str:
    """Path of the receipt that a listed shard of activations or labels has to have."""
    if entry.last_shard is not None:
        return paths.receipt_file(compact_stage(plan), compact_key(series_of(entry), entry.shards))
    stage = f"labels-{entry.concepts}" if entry.concepts else dump_stage(plan)
    return paths.receipt_file(stage, f"shard-{entry.shard:05d}")


def _check_manifest(plan: Plan, manifest: Manifest) -> Iterator[Problem]:
    """The manifest lists every planned shard of the corpus and its rows, and whole layers of activations."""
    path = paths.manifest_file(manifest.number)
    for table, count in _COUNTS.items():
        scope = plan.row_space if table in ("rows", "tokens") else "corpus"
        listed = sum(entry.n_rows for entry in manifest.files(table, scope))
        planned = sum(asdict(shard)[count] for shard in plan.shards)
        if listed != planned:
            yield Problem(path, "manifest", f"lists {counted(listed, 'line')} of {table}, and {planned:,} are planned")
    rows: Counter[tuple[object, ...]] = Counter()
    for entry in manifest.files("activations", plan.run_id):
        rows[entry.component, entry.layer, entry.block] += entry.n_rows
    if not rows:
        return
    for (component, layer, block), n_rows in rows.items():
        if n_rows != plan.n_rows:
            where = f"{plan.model} {component} layer {layer} block {block}"
            listed_rows = counted(n_rows, "row")
            yield Problem(path, "manifest", f"lists {listed_rows} of {where}, and {plan.n_rows:,} are planned")
    there = {(component, layer) for component, layer, _ in rows}
    for component, layer in plan.capture.targets:
        if (component, layer) not in there:
            yield Problem(path, "manifest", f"lists no activations of {plan.model} {component} layer {layer}")
