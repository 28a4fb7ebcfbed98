"""Planning a run: read the corpus twice (scan, then cut), give every token its row, compile the concepts.

Everything that can be wrong with the input is found here, before a model is loaded. Each shard is committed with a
receipt, so an interrupted plan goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast

from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.scan import scan
from pipeline.extract.model import choose_device
from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.model_info import describe_model
from pipeline.extract.row_sample import RowSample
from pipeline.extract.rows import check_pooling
from pipeline.extract.sae import SaeFacts
from pipeline.extract.tokenizer import Encoder
from pipeline.run.annotation import annotated_corpus
from pipeline.run.capture_choice import choose_components, describe_saes
from pipeline.run.cores import usable_cores
from pipeline.run.corpus_record import (
    CorpusRecord,
    choose_record,
    is_cut,
    load_corpus_record,
    refuse_changed_files,
)
from pipeline.run.labelling import check_concepts, label
from pipeline.run.pilot import tune_token_budget
from pipeline.run.plan_record import Capture, Plan, ShardPlan, library_versions
from pipeline.run.plans import load_plan, planned_models, refuse_changes, refuse_imported, save_plan
from pipeline.run.progress import Progress
from pipeline.run.row_space import RowSpace, cut_id, row_space_id
from pipeline.run.shards import write_quarantine, write_shards
from pipeline.run.work import MAX_UNFINISHED, Executor
from pipeline.store.store import Store
from schemas.config import Config, DumpConfig, Pooling
from schemas.errors import ConfigError, StoreError
from schemas.fingerprints import run_fingerprint
from schemas.section import Section

#: Rows of a shard when memory would allow more: recovery stays cheap.
MAX_ROWS_PER_SHARD = 131_072
MIN_ROWS_PER_SHARD = 256
#: Padded tokens per batch unless the config says otherwise: what fits the caches of a CPU, and what fills a GPU.
TOKEN_BUDGETS = {"cpu": 1024, "cuda": 32_768}


def choose_capture(
    config: Config, info: ModelInfo, saes: dict[str, SaeFacts], frozen: Capture | None = None
) -> Capture:
    """Fix what the forward pass gives.

    ``frozen`` is that of an earlier plan of the same run: its threads and tuned token budget stay. Raises
    :class:`ConfigError` for layers or neurons the model does not have, or packing that it cannot take.
    """
    dump, executor = config.dump, config.executor
    choice = choose_components(dump, info, saes)
    if dump.packing and not info.is_packable:
        raise ConfigError(
            f"dump.packing: architecture {info.architecture!r}{' with windowed attention' if info.has_window else ''} "
            f"takes no packed batches; known to are, without windows, {', '.join(info.packable_architectures())}: "
            "drop the key"
        )
    on_gpu = bool(executor.gpus_per_worker) or choose_device(config.model.device).type == "cuda"
    device: Literal["cpu", "cuda"] = "cuda" if on_gpu else "cpu"
    return Capture(
        components=dump.components,
        layers=choice.layers,
        widths=choice.widths,
        unit=dump.unit,
        pooling=cast("Pooling | None", check_pooling(info, dump.unit, dump.pooling)),
        dtype=dump.dtype,
        token_budget=_token_budget(dump, device, frozen),
        threads=executor.threads or (frozen and frozen.threads) or max(1, usable_cores() // executor.workers),
        device=device,
        mode=dump.mode,
        k=dump.k,
        threshold=dump.threshold,
        sample=RowSample(**dump.sample.model_dump()) if dump.sample else None,
        neurons=choice.neurons,
        saes={name: facts.sha256 for name, facts in saes.items()},
        packing=info.is_packable if dump.packing is None else dump.packing,
    )


def _token_budget(dump: DumpConfig, device: str, frozen: Capture | None) -> int:
    if isinstance(dump.token_budget, int):
        return dump.token_budget
    return frozen.token_budget if frozen else TOKEN_BUDGETS[device]


def plan_run(config: Config, store: Store, executor: Executor, progress: Progress) -> Plan:
    """Plan ``config`` into ``store``. See the module's text.

    Planning the same again reads the store and the files' checksums, not the text; files that are gone don't matter.
    """
    earlier = load_plan(store, config.model_alias) if config.model_alias in planned_models(store) else None
    if earlier:
        refuse_imported(earlier)
        refuse_changes(earlier, config)
    info = describe_model(config.model, config.dump.modules)
    saes = describe_saes(config.dump, info)
    capture = choose_capture(config, info, saes, earlier.capture if earlier else None)
    encoder = Encoder(config.model, info, encode=config.dump.encode, long_sentences=config.dump.long_sentences)
    unread = QuarantineList()
    is_known = earlier is not None and is_cut(store)
    if is_known:
        record = load_corpus_record(store)
        refuse_changed_files(store, record)
    else:
        record = _scan(config, store, capture, encoder, progress, unread)
    check_concepts(config.concepts, record.summary)
    space_id = row_space_id(record.fingerprint, encoder.fingerprint, capture)
    if earlier:
        _refuse_other_inputs(earlier, config, info, capture, space_id)
    space, shards = write_shards(store, record, space_id, capture, encoder, progress)
    if not is_known and not store.files("quarantine"):  # a plan killed right after the cut has not got to it
        write_quarantine(store, unread)
    if capture.sample and not any(shard.n_rows for shard in shards):
        raise ConfigError(
            f"dump.sample: {capture.sample} draws none of the corpus' rows; raise `share` or change `seed`, "
            "and plan into another `store`"
        )
    plan = _assemble(config, info, saes, capture, record, space, shards)
    if earlier and earlier.shards != plan.shards:
        raise StoreError(
            f"store {store.url}: its shards are not those that model {plan.model!r} was planned with; "
            "`neuronmill verify` says which files are wrong"
        )
    if earlier is None:
        if capture.mode != "threshold":  # what a threshold keeps is not known before
            store.check_space(plan.n_bytes)
        if config.dump.tunes_token_budget:
            plan = _assemble(config, info, saes, _tuned(plan, store, progress), record, space, shards)
    save_plan(store, plan)
    label(plan, store, executor, progress)
    return plan


def _tuned(plan: Plan, store: Store, progress: Progress) -> Capture:
    """The plan's capture with the token budget that is the fastest here."""
    progress.start("tune token budget", 0, "tokens")
    budget, rates = tune_token_budget(plan, store)
    found = ", ".join(f"{tried}: {rate:,.0f}" for tried, rate in sorted(rates.items()))
    progress.finish(f"{budget} tokens a batch (tokens/s at {found})")
    return replace(plan.capture, token_budget=budget)


def _scan(
    config: Config, store: Store, capture: Capture, encoder: Encoder, progress: Progress, unread: QuarantineList
) -> CorpusRecord:
    """Read the corpus once, annotated if the config says so; how it is or will be cut."""
    corpus = annotated_corpus(config, store, progress, unread.add)
    progress.start("scan", 0, "sentences")
    summary = scan(corpus, unread.add)
    progress.finish(summary.sizes)
    rows_per_shard = config.dump.rows_per_shard or fitting_rows(config.dump, capture)
    cut_by = cut_id(encoder.fingerprint, capture)
    return choose_record(store, CorpusRecord(summary, corpus, rows_per_shard, cut_by), config.dump.rows_per_shard)


def fitting_rows(dump: DumpConfig, capture: Capture) -> int:
    """As many rows as a worker's memory allows, which holds :data:`MAX_UNFINISHED` shards."""
    fitting = dump.memory_mb * 2**20 // (MAX_UNFINISHED * capture.memory_per_row)
    return min(MAX_ROWS_PER_SHARD, max(MIN_ROWS_PER_SHARD, fitting))


def _assemble(
    config: Config,
    info: ModelInfo,
    saes: dict[str, SaeFacts],
    capture: Capture,
    record: CorpusRecord,
    space: RowSpace,
    shards: tuple[ShardPlan, ...],
) -> Plan:
    model = config.model.model_dump(mode="json", include={"compute_dtype", "random_weights", "gguf_file"})
    if info.start_token_id is not None:
        model["start_token_id"] = info.start_token_id
    digest = run_fingerprint(
        alias=config.model_alias,
        row_space=space.id,
        weights_sha256=info.weights_sha256,
        model=model,
        components={
            name: {"layers": capture.layers[name], **_definition(config, capture, name)} for name in capture.components
        },
        dtype=capture.dtype,
        rule=capture.rule,
        token_budget=capture.token_budget,
        threads=capture.threads,
        device=capture.device,
        packing=capture.packing,
    )
    return Plan(
        digest[:16],
        digest,
        config.model_alias,
        space.id,
        record.fingerprint,
        capture,
        shards,
        info,
        library_versions(),
        {name: facts.path for name, facts in saes.items()},
        config,
    )


def _definition(config: Config, capture: Capture, component: str) -> dict[str, Any]:
    """What makes a component other than its name says: a module's or autoencoder's definition, chosen neurons."""
    dump = config.dump
    defined: dict[str, Section] = {module.name: module for module in dump.modules}
    defined |= {sae.name: sae for sae in dump.saes}
    found: dict[str, Any] = {}
    if component in defined:
        found = defined[component].model_dump(mode="json", exclude={"name", "path"})
    if component in capture.saes:
        found["sha256"] = capture.saes[component]
    if component in capture.neurons:
        found["neurons"] = capture.neurons[component]
    return found


def _refuse_other_inputs(earlier: Plan, config: Config, info: ModelInfo, capture: Capture, row_space: str) -> None:
    """Raise if the model's files or the frozen threads are not the earlier plan's; the config is the same."""
    if earlier.model_info.weights_sha256 != info.weights_sha256:
        what = f"the weights of {config.model.name} have changed"
    elif earlier.capture != capture:
        old, new = vars(earlier.capture), vars(capture)
        what = "; ".join(f"{key}: {old[key]} → {new[key]}" for key in old if old[key] != new[key])
    elif earlier.row_space != row_space:
        what = f"the tokenizer of {config.model.name} has changed"
    else:
        return
    raise ConfigError(
        f"store {config.store}: model {earlier.model!r} was planned here with other inputs: {what}; "
        "put the old ones back to go on, or use another `store` or `model.alias`. Nothing was changed"
    )
