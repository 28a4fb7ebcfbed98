"""Registering finished work in the store's manifest: activations, and the tables runs and shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Any

from pipeline.run.dump_files import chosen_files, compact_stage
from pipeline.run.plan_record import Plan
from pipeline.store.parquet import write_table
from pipeline.store.paths import run_file
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.store import Store
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

#: Ends the scope of a run's rankings across models.
_MODELS = "-models"


def show_finished(store: Store, plan: Plan, table: str, key: str, scope: str | None = None) -> bool:
    """Register a table of the run that an earlier command finished under ``key``; False if there is none.

    In the scope of the run, unless another one is given.
    """
    receipt = store.receipt(f"{table}-{plan.run_id}", key)
    if receipt:
        store.advance(table, scope or plan.run_id, receipt.files)
    return receipt is not None


def write_run_table(store: Store, plan: Plan, table: str, columns: Any, key: str) -> None:
    """Write a one-file table of a run (rankings, runs, shards, …), commit it and register it under the run's scope.

    A table that is written again under another ``key`` replaces the earlier one in the manifest; the old file stays
    for the snapshots that name it.
    """
    receipt = commit_run_table(store, plan, table, key, [(key, columns)])
    store.advance(table, plan.run_id, receipt.files)


def commit_run_table(store: Store, plan: Plan, table: str, key: str, parts: Iterable[tuple[str, Any]]) -> Receipt:
    """Write a table of a run as one or several files (name, columns) and commit it under ``key``.

    The manifest stays as it is, so that several tables can appear in it together.
    """
    with store.staging() as staging:
        for name, columns in parts:
            write_table(staging.path(run_file(table, plan.run_id, name)), columns, TABLES[table].arrow)
        return store.commit(staging, f"{table}-{plan.run_id}", key)


def models_scope(run_id: str) -> str:
    """Scope of a run's rankings across models, beside those by concepts, which are in the scope of the run."""
    return f"{run_id}{_MODELS}"


def write_run_tables(store: Store, plan: Plan, tables: Mapping[tuple[str, str], Callable[[], Any]], key: str) -> None:
    """Write several one-file tables of a run, by table and scope, and register them in one step.

    Columns of a table that an earlier command finished under ``key`` are not asked for.
    """
    changes = {}
    for (table, scope), columns in tables.items():
        receipt = store.receipt(f"{table}-{plan.run_id}", key)
        if receipt is None:
            with store.staging() as staging:
                write_table(staging.path(run_file(table, plan.run_id, key)), columns(), TABLES[table].arrow)
                receipt = store.commit(staging, f"{table}-{plan.run_id}", key)
        changes[table, scope] = receipt.files
    store.advance_all(changes)


def concat_run_table(store: Store, plan: Plan, table: str, key: str, parts: Sequence[Receipt]) -> None:
    """Make one table of a run from its finished parts, in their order, and register it."""
    if show_finished(store, plan, table, key):
        return
    write_run_table(store, plan, table, store.read_table([file for part in parts for file in part.files]), key)


def register_dump(plan: Plan, store: Store, stage: str) -> int:
    """Put a complete dump into the manifest, compacted where it is; returns the bytes of its activation files.

    The table `shards` tells of the dump; it stays as it is once receipts of the dump are gone, replaced.
    """
    receipts = store.receipts(stage)
    files = chosen_files(plan, receipts, store.receipts(compact_stage(plan)).values())
    return _register(plan, store, files, receipts)


def register_activations(plan: Plan, store: Store, receipts: dict[str, Receipt], replaced: Collection[str] = ()) -> int:
    """Put the activation files of every shard's receipt into the manifest; returns their bytes.

    In the same step everything of the runs ``replaced`` leaves it.
    """
    files = [file for shard in plan.shards for file in receipts[shard.key].files]
    return _register(plan, store, files, receipts, replaced)


def _register(
    plan: Plan, store: Store, files: list[FileEntry], receipts: dict[str, Receipt], replaced: Collection[str] = ()
) -> int:
    tables = store.manifest().tables
    left = {
        (table, of): () for table, scopes in tables.items() for of in scopes if of.removesuffix(_MODELS) in replaced
    }
    store.advance_all({**left, ("activations", plan.run_id): files})
    if all(shard.key in receipts for shard in plan.shards):
        columns = _shard_columns(plan, receipts)
        write_run_table(store, plan, "shards", columns, fingerprint(columns=columns)[:12])
    write_run_record(store, plan)
    return sum(file.n_bytes for file in files)


def write_run_record(store: Store, plan: Plan) -> None:
    """The run's line in ``runs``, with the config as it is now."""
    n_bytes = sum(file.n_bytes for file in store.files("activations", plan.run_id))
    columns = _run_columns(plan, n_bytes)
    write_run_table(store, plan, "runs", columns, fingerprint(columns=columns)[:12])


def _shard_columns(plan: Plan, receipts: dict[str, Receipt]) -> dict[str, list[Any]]:
    same = ("shard", "first_row", "n_rows", "n_sentences", "n_tokens", "n_words_without_token", "n_split_sentences")
    columns: dict[str, list[Any]] = {name: [] for name in TABLES["shards"].arrow.names}
    for shard in plan.shards:
        receipt = receipts[shard.key]
        columns["run_id"].append(plan.run_id)
        columns["model"].append(plan.model)
        for name in (*same, "n_truncated_sentences"):
            columns[name].append(getattr(shard, name))
        columns["n_bytes"].append(sum(file.n_bytes for file in receipt.files))
        columns["n_files"].append(len(receipt.files))
        for name in ("n_values", "n_clipped"):
            counts = [count for file in receipt.files if (count := getattr(file, name)) is not None]
            columns[name].append(sum(counts) if counts else None)
        for name in ("attempt", "seconds", "token_budget"):
            columns[name].append(receipt.facts[name])
    return columns


def _run_columns(plan: Plan, n_bytes: int) -> dict[str, list[Any]]:
    names = ("neuronmill", "torch", "transformers", "pyarrow")
    versions = {name: version(name) for name in names} | {"python": python_version()}
    return {
        "run_id": [plan.run_id],
        "model": [plan.model],
        "model_name": [plan.config.model.name],
        "architecture": [plan.model_info.architecture],
        "revision": [plan.model_info.revision],
        "weights_sha256": [plan.model_info.weights_sha256],
        "unit": [plan.capture.unit],
        "pooling": [plan.capture.pooling],
        "dtype": [plan.capture.dtype],
        "rule": [plan.capture.rule],
        "sample": [None if plan.capture.sample is None else str(plan.capture.sample)],
        "components": [list(plan.capture.components)],
        "layers": [list(plan.capture.all_layers)],
        "n_rows": [plan.n_rows],
        "n_shards": [len(plan.shards)],
        "n_bytes": [n_bytes],
        "compute": [json.dumps(_compute_facts(plan), sort_keys=True)],
        "config": [json.dumps(plan.config.model_dump(mode="json"), sort_keys=True)],
        "versions": [json.dumps(versions, sort_keys=True)],
    }


def _compute_facts(plan: Plan) -> dict[str, Any]:
    """How the forward pass runs."""
    capture = plan.capture
    return {
        "dtype": plan.config.model.compute_dtype,
        "autocast": False,  # weights and activations have that dtype throughout
        "attention": plan.model_info.attention,
        "device": capture.device,
        "threads": capture.threads,
        "token_budget": capture.token_budget,
        "packing": capture.packing,
    }
