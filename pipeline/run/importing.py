"""Import: activations of another program as a model of the store, so that every analysis works on them.

In this order, each step safe to be killed in: rows (first import only), the claim of every (component, layer) with
the file's SHA-256, activation files shard by shard, the plan with the new layers in place of the one before, labels,
and the manifest. The same command started again goes on; its files have the same bytes. A model's run id covers the
SHA-256 of all that was imported into it, so a further layer makes a new run: the results of the one before leave the
manifest.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.exchange.opened import open_source
from pipeline.exchange.source import ActivationSource, Array
from pipeline.exchange.sparse_latents import SparseLatents
from pipeline.extract.model_facts import ModelInfo
from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.import_values import check_values, to_stored
from pipeline.run.imported_corpus import check_rows, imported_concepts, refuse_other_corpus, write_rows
from pipeline.run.imported_rows import RowInput, RowScan
from pipeline.run.labelling import label
from pipeline.run.plan_record import IMPORTED, Capture, Plan, ShardPlan
from pipeline.run.plans import extend_plan, load_plan, planned_models
from pipeline.run.progress import Progress
from pipeline.run.records import register_activations
from pipeline.run.row_space import RowSpace
from pipeline.run.work import Executor
from pipeline.store.parquet import BLOCK_NEURONS, write_activations
from pipeline.store.paths import activation_file
from pipeline.store.receipts import Receipt
from pipeline.store.sparse import write_sparse
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.components import Component
from schemas.config import Config, DumpConfig, ModelConfig, ValueDtype
from schemas.errors import ConfigError
from schemas.fingerprints import fingerprint

MAX_ROWS_PER_SHARD = 131_072
MIN_ROWS_PER_SHARD = 256
Target = tuple[Component, int]


@dataclass(frozen=True)
class ImportRequest:
    """What is imported as what. ``layers``: the number of a plain array, or some of the file's own (None for all)."""

    paths: tuple[str, ...]
    model: str
    component: Component
    layers: tuple[int, ...] | None = None
    labels: Path | None = None
    label_name: str | None = None
    split_column: str | None = None
    dtype: ValueDtype | None = None
    array: str | None = None
    tensor: str | None = None
    min_count: int = 1
    memory_mb: int = 1024
    rows_per_shard: int | None = None


@dataclass(frozen=True)
class Opened:
    """A request whose files are open: everything about it that needs no store."""

    request: ImportRequest
    source: ActivationSource
    rows: RowInput
    targets: tuple[Target, ...]
    dtype: ValueDtype
    """Stored dtype."""

    @property
    def widening(self) -> str:
        """The remark that the values become the model's wider dtype, unchanged; "" where they keep theirs."""
        if self.request.dtype is not None or self.dtype == self.source.stored_dtype:
            return ""
        return f"{self.source.stored_dtype} becomes {self.dtype}, as the model's other layers are; no value changes"

    @property
    def rows_per_shard(self) -> int:
        """As many rows as the memory of one shard allows, in the source's dtype."""
        bytes_per_row = 4 * self.source.n_neurons * max(1, len(self.source.layers))
        if isinstance(self.source, SparseLatents):  # place and value, on the way and sorted
            bytes_per_row = 64 * max(1, self.source.n_values // self.source.n_rows)
        fitting = self.request.memory_mb * 2**20 // bytes_per_row
        return self.request.rows_per_shard or min(MAX_ROWS_PER_SHARD, max(MIN_ROWS_PER_SHARD, fitting))

    @property
    def n_values(self) -> int:
        """Values to write."""
        if isinstance(self.source, SparseLatents):
            return self.source.n_values
        return self.source.n_rows * self.source.n_neurons * len(self.targets)

    def arrays(self, start: int, stop: int) -> dict[Target, Array]:
        """Values (stop − start, N) of every target."""
        layers = self.source.layers or (self.targets[0][1],)
        found = dict(zip(layers, self.source.read(start, stop), strict=True))
        return {target: found[target[1]] for target in self.targets}


def open_import(request: ImportRequest) -> Opened:
    """Open the files of a request; raises for everything that can be said of them without reading them all."""
    for option, name, pattern in (
        ("--model", request.model, r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        ("--component", request.component, r"[a-z][a-z0-9_]{0,40}"),
    ):
        if not re.fullmatch(pattern, name):
            raise ConfigError(f"{option} {name[:100]!r}: the name must match {pattern}; give another")
    source = open_source(request.paths, array=request.array, tensor=request.tensor)
    layers = request.layers
    if not source.layers and (layers is None or len(layers) != 1):
        raise ConfigError(
            f"--layer: {source.name} is one array, so it needs the one number of its layer, e.g. --layer 3"
        )
    missing = [layer for layer in layers or () if source.layers and layer not in source.layers]
    if missing:
        raise ConfigError(f"--layer {missing[0]}: {source.name} has the layers {', '.join(map(str, source.layers))}")
    if source.layers and len(set(source.layers)) < len(source.layers):
        raise ConfigError(f"{source.name}: has a layer twice: {source.layers}; write the file again")
    rows = RowInput(source, request.labels, request.label_name, request.split_column)
    chosen = source.layers if layers is None else tuple(sorted(set(layers)))
    targets = tuple((request.component, layer) for layer in chosen)
    return Opened(request, source, rows, targets, request.dtype or source.stored_dtype)


def preview_import(request: ImportRequest, store: Store | None) -> list[str]:
    """What an import would do, after reading and checking the rows; writes nothing."""
    opened = open_import(request)
    if store is not None:
        opened, _ = _beside_earlier(opened, store)
    source = opened.source
    scan = check_rows(opened.rows, store, request.min_count)
    layers = ", ".join(f"{component} {layer}" for component, layer in opened.targets)
    n_bytes = human_bytes(opened.n_values * (4 if opened.dtype == "float32" else 2))
    return [
        f"activations: {counted(source.n_rows, 'row')} × {counted(source.n_neurons, 'neuron')} ({source.dtype})",
        f"as: {request.model} {layers}" + (f" ({opened.widening})" if opened.widening else ""),
        *(["rows: those of the store"] if scan is None else describe_rows(scan)),
        f"would write {n_bytes} as {opened.dtype}, {counted(opened.rows_per_shard, 'row')} a shard at most",
    ]


def describe_rows(scan: RowScan) -> list[str]:
    """The rows of a first import and their labels in a few lines."""
    summary = scan.summary
    return [
        f"rows: {summary.sizes}",
        f"labels: concepts from {len(scan.concepts.include)} of {counted(len(scan.layers), 'column')}",
    ] + [f"no concept from {remark}" for remark in scan.left_out]


def import_activations(request: ImportRequest, store: Store, executor: Executor, progress: Progress) -> Plan:
    """Import into ``store``; see the module's text. Returns the model's plan with the new layers."""
    opened = open_import(request)
    opened, earlier = _beside_earlier(opened, store)
    scan = check_rows(opened.rows, store, request.min_count)
    check_values(opened.source, opened.dtype, progress)
    store.check_space(opened.n_values * 2)
    sha256 = opened.source.sha256()
    record, space, shards = write_rows(
        opened.rows, scan, store, opened.rows_per_shard, request.rows_per_shard, progress
    )
    for target in opened.targets:
        _claim(opened, store, target, sha256)
    _write_shards(opened, store, shards, space, progress)
    plan = _extended_plan(opened, store, earlier, record.fingerprint, space, shards)
    extend_plan(store, plan)
    label(plan, store, executor, progress)
    _register(plan, store)
    return plan


def _beside_earlier(opened: Opened, store: Store) -> tuple[Opened, Plan | None]:
    """The import in the stored dtype of the model so far, and the model's plan.

    Without a dtype asked for, 16-bit values become those of a float32 model, which holds them exactly. Raises
    :class:`ConfigError` where the new layers do not go with the earlier ones.
    """
    refuse_other_corpus(store)
    request, source = opened.request, opened.source
    if request.model not in planned_models(store):
        return opened, None
    plan = load_plan(store, request.model)
    width = plan.capture.widths.get(request.component, source.n_neurons)
    if width != source.n_neurons:
        raise ConfigError(
            f"{source.name}: has {counted(source.n_neurons, 'neuron')}, and the layers of {request.component} of "
            f"{request.model} have {width:,}; import it as another --component or --model. Nothing was changed"
        )
    if request.dtype is None and plan.capture.dtype == "float32":
        opened = replace(opened, dtype="float32")
    if plan.capture.dtype != opened.dtype:
        raise ConfigError(
            f"--dtype {opened.dtype}: the layers of {request.model} are stored as {plan.capture.dtype}; give --dtype "
            f"{plan.capture.dtype}, or another --model. Nothing was changed"
        )
    return opened, plan


def _claim_path(model: str, target: Target) -> str:
    component, layer = target
    return f"imports/{model}/{component}-{layer}.json"


def _claim(opened: Opened, store: Store, target: Target, sha256: str) -> None:
    """Write down what becomes this layer, once; raises :class:`ConfigError` for other values in its place."""
    model = opened.request.model
    record = {
        "sha256": sha256,
        "dtype": opened.dtype,
        "n_rows": opened.source.n_rows,
        "n_neurons": opened.source.n_neurons,
        "files": [file.name for file in opened.source.files()],
    }
    path = _claim_path(model, target)
    if not store.put_json_new(path, record):
        found = store.read_json(path)
        if any(found[key] != record[key] for key in ("sha256", "dtype", "n_neurons")):
            raise ConfigError(
                f"--component {target[0]} --layer {target[1]}: this layer of {model} was imported from "
                f"{', '.join(found['files'])} with other content (sha256 {found['sha256'][:12]}…, {found['dtype']}); "
                "give another --model, --component or --layer, or another --store. Nothing was changed"
            )


def _stage(model: str, target: Target) -> str:
    return f"import-{model}-{target[0]}-{target[1]}"


def _write_shards(
    opened: Opened, store: Store, shards: tuple[ShardPlan, ...], space: RowSpace, progress: Progress
) -> None:
    """Write every shard of every layer that has no receipt yet."""
    model = opened.request.model
    finished = {target: set(store.receipts(_stage(model, target))) for target in opened.targets}
    missing = [shard for shard in shards if any(shard.key not in keys for keys in finished.values())]
    progress.start(f"import {model}", len(shards), "shards", len(shards) - len(missing))
    for shard in missing:
        start = shard.first_row - space.first_row
        began = time.monotonic()
        if isinstance(opened.source, SparseLatents):
            _write_latents(opened, opened.source, store, shard, start, began)
        else:
            for target, values in opened.arrays(start, start + shard.n_rows).items():
                if shard.key not in finished[target]:
                    _write_target(opened, store, shard, target, values, began)
        progress.advance(1, n_rows=shard.n_rows)
    sizes = (
        counted(opened.source.n_rows, "row"),
        counted(opened.source.n_neurons, "neuron"),
        counted(len(opened.targets), "layer"),
    )
    progress.finish(" × ".join(sizes) + (f"; {opened.widening}" if opened.widening else ""))


def _write_target(opened: Opened, store: Store, shard: ShardPlan, target: Target, values: Array, began: float) -> None:
    """One file per block of neurons of one layer, and their receipt."""
    row_ids = np.arange(shard.first_row, shard.first_row + shard.n_rows, dtype=np.int64)
    model, dtype = opened.request.model, opened.dtype
    with store.staging() as staging:
        for block, first in enumerate(range(0, opened.source.n_neurons, BLOCK_NEURONS)):
            part = to_stored(values[:, first : first + BLOCK_NEURONS], dtype, opened.source.dtype)
            path = activation_file(model, *target, block, shard.shard)
            facts = write_activations(staging.path(path), part, first_neuron=first, row_ids=row_ids, dtype=dtype)
            staging.wrote(path, facts)
        store.commit(staging, _stage(model, target), shard.key, _facts(began))


def _write_latents(
    opened: Opened, source: SparseLatents, store: Store, shard: ShardPlan, start: int, began: float
) -> None:
    """One sparse file per block of latents, and their receipt."""
    row, latent, values = source.triples(start, start + shard.n_rows)
    bits = to_stored(values, opened.dtype, source.dtype)
    rows = range(shard.first_row, shard.first_row + shard.n_rows)
    model, (target,) = opened.request.model, opened.targets
    with store.staging() as staging:
        for block, first in enumerate(range(0, source.n_neurons, BLOCK_NEURONS)):
            neurons = range(first, min(first + BLOCK_NEURONS, source.n_neurons))
            inside = (latent >= neurons.start) & (latent < neurons.stop)
            path = staging.path(activation_file(model, *target, block, shard.shard))
            row_id = row[inside] + rows.start
            write_sparse(path, latent[inside], row_id, bits[inside], neurons=neurons, rows=rows, dtype=opened.dtype)
        store.commit(staging, _stage(model, target), shard.key, _facts(began))


def _facts(began: float) -> dict[str, float]:
    """A receipt's facts."""
    return {"attempt": 1, "seconds": round(time.monotonic() - began, 3), "token_budget": 0}


def _extended_plan(
    opened: Opened,
    store: Store,
    earlier: Plan | None,
    corpus: str,
    space: RowSpace,
    shards: tuple[ShardPlan, ...],
) -> Plan:
    """The model's plan with the new layers."""
    request, source = opened.request, opened.source
    before = earlier.capture.targets if earlier else ()
    targets = tuple(sorted({*before, *opened.targets}))
    components = tuple(sorted({component for component, _ in targets}))
    layers = {name: tuple(layer for component, layer in targets if component == name) for name in components}
    widths = (earlier.capture.widths if earlier else {}) | {request.component: source.n_neurons}
    capture = Capture(components, layers, widths, "word", None, opened.dtype, 0, 1, "cpu")
    claims = [store.read_json(_claim_path(request.model, target))["sha256"] for target in targets]
    digest = fingerprint(
        kind="import", model=request.model, row_space=space.id, targets=targets, sha256=claims, dtype=opened.dtype
    )
    weights = claims[0] if len(set(claims)) == 1 else fingerprint(files=claims)
    name = request.paths[0]
    info = ModelInfo(request.model, name, IMPORTED, capture.all_layers[-1], widths, None, 0, 0, weights, None, "")
    config = _config(opened, store, earlier)
    if earlier is not None:
        info = replace(info, name=earlier.model_info.name)
    return Plan(digest[:16], digest, request.model, space.id, corpus, capture, shards, info, {}, {}, config)


def _config(opened: Opened, store: Store, earlier: Plan | None) -> Config:
    """The settings of the analyses: those of the model so far, else the defaults with the imported concepts."""
    if earlier is not None:
        return earlier.config
    request = opened.request
    return Config(
        store=store.url,
        corpus=load_corpus_record(store).corpus,
        model=ModelConfig(name=request.paths[0], alias=request.model),
        # which layers there are is the capture's to say
        dump=DumpConfig(unit="word", dtype=opened.dtype),
        concepts=imported_concepts(store),
    )


def _register(plan: Plan, store: Store) -> None:
    """Show the activations to readers, in place of the runs that the model had before."""
    receipts: dict[str, Receipt] = {}
    by_target = [store.receipts(_stage(plan.model, target)) for target in plan.capture.targets]
    for shard in plan.shards:
        parts = [found[shard.key] for found in by_target]
        files = tuple(file for part in parts for file in part.files)
        seconds = round(sum(part.facts["seconds"] for part in parts), 3)
        facts = {"attempt": 1, "seconds": seconds, "token_budget": 0}
        receipts[shard.key] = Receipt("import", shard.key, files, facts)
    manifest = store.manifest()
    of_model = {
        scope
        for scope in manifest.scopes("activations")
        if any(file.model == plan.model for file in manifest.files("activations", scope))
    }
    register_activations(plan, store, receipts, of_model - {plan.run_id})
