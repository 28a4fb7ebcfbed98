"""Doing single shards again, each by the code that made it: corpus tables, rows and tokens, activations, labels.

What these need beside the store (corpus files, tokenizer, model) may be gone or changed by now; then they raise, and
say what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.reader import read_corpus
from pipeline.corpus.scan import scan
from pipeline.corpus.sources import digest, expand
from pipeline.extract.tokenizer import Encoder
from pipeline.run.compact import make_files, shard_tasks
from pipeline.run.corpus_record import CorpusRecord, load_corpus_record
from pipeline.run.dump import DumpJob, ScalesJob, refuse_other_libraries
from pipeline.run.dump_files import compacted_shards, dump_stage
from pipeline.run.failures import FailureLog
from pipeline.run.ingest import ENCODE_BATCH, ShardContent, cut_shards, write_corpus_shard
from pipeline.run.labelling import LabelJob, LabelTask, planned_concepts
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.retokenise import plan_encoder
from pipeline.run.row_space import claim_row_space, cut_id, encode_in_batches, stored_sentences, write_row_shard
from pipeline.run.scales import ensure_scales
from pipeline.run.shards import row_counter, write_quarantine
from pipeline.run.work import Executor, Outcome, run_tasks
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import CorpusError, ModelError, StoreError


def redo_corpus(
    store: Store, plans: Sequence[Plan], keys: Sequence[str], facts: Mapping[str, dict[str, Any]], progress: Progress
) -> None:
    """Cut these shards out of the corpus files again; ``facts`` are those of the receipts that can be read.

    Raises :class:`CorpusError` if a file of the corpus is gone or has changed, :class:`StoreError` if the tokenizer
    that the corpus was cut by is.
    """
    record = load_corpus_record(store)
    _require_corpus(record)
    plan, encoder = _cutter(store, plans, record)
    known = dict(facts)
    layers = tuple(sorted(record.summary.layers))
    progress.start("repair corpus", len(keys), "shards")
    contents: Iterator[ShardContent] = iter(())
    following = -1
    for shard in sorted(int(key.removeprefix("shard-")) for key in keys):
        if shard != following:
            contents = cut_shards(
                read_corpus(record.corpus, lambda _: None),
                encoder,
                row_counter(plan.capture),
                record.rows_per_shard,
                [known[f"shard-{before:05d}"] for before in range(shard)],
                skip=record.corpus.on_error == "skip",
            )
        content = next(contents)
        write_corpus_shard(store, content, layers)
        known[f"shard-{shard:05d}"] = content.facts()
        following = shard + 1
        progress.advance()
    progress.finish(f"{counted(len(keys), 'shard')} written again")


def redo_quarantine(store: Store, plans: Sequence[Plan]) -> None:
    """List the sentences that were skipped again, from one more reading of the corpus."""
    record = load_corpus_record(store)
    _require_corpus(record)
    if any(plan.config.annotate for plan in plans):
        raise StoreError("what annotation skipped is known only while it annotates; make the store anew for this table")
    unread = QuarantineList()
    scan(record.corpus, unread.add)
    write_quarantine(store, unread)


def _require_corpus(record: CorpusRecord) -> None:
    """Raise :class:`CorpusError` naming every file of the corpus that is gone or has changed."""
    found = {source.name: digest(source).sha256 for source in expand(record.corpus)}
    recorded = {source["name"]: source["sha256"] for source in record.summary.sources}
    lost = [name for name in recorded if name not in found]
    changed = [name for name in recorded if name in found and found[name] != recorded[name]]
    if lost or changed:
        what = [f"{len(names)} {how} ({', '.join(names[:5])})" for how, names in (("gone", lost), ("changed", changed))
                if names]  # fmt: skip
        raise CorpusError(f"files of the corpus are no longer as they were read: {'; '.join(what)}; put them back")


def _cutter(store: Store, plans: Sequence[Plan], record: CorpusRecord) -> tuple[Plan, Encoder]:
    """The plan whose tokenisation cut the corpus, and its encoder."""
    errors = []
    for plan in plans:
        try:
            encoder = plan_encoder(store, plan)
        except ModelError as error:
            errors.append(f"; {error}")
            continue
        if cut_id(encoder.fingerprint, plan.capture) == record.cut_by:
            return plan, encoder
    raise StoreError(f"no plan of the store has the tokenizer that the corpus was cut by{''.join(errors)}")


def redo_rows(store: Store, plan: Plan, keys: Sequence[str], progress: Progress) -> None:
    """Tokenise the stored sentences of these shards again, and write their rows and tokens."""
    encoder = plan_encoder(store, plan)
    space = claim_row_space(store, plan.row_space, plan.capture.unit, plan.capture.pooling, plan.capture.sample)
    progress.start(f"repair rows of {plan.model}", len(keys), "shards")
    for shard in plan.shards:
        if shard.key in keys:
            sentences, texts = stored_sentences(store, shard.shard)
            encoded = list(encode_in_batches(encoder, texts, ENCODE_BATCH))
            write_row_shard(store, space, shard.shard, shard.first_row, sentences, encoded)
            progress.advance(n_rows=shard.n_rows)
    progress.finish(f"{counted(len(keys), 'shard')} written again")


def redo_scales(store: Store, plan: Plan, keys: Sequence[str], executor: Executor, progress: Progress) -> None:
    """Choose the scales of an ``int8`` dump again, by the same pilot: one piece, whose key is always the same."""
    del keys
    refuse_other_libraries(plan)
    ensure_scales(plan, store, executor, progress, ScalesJob(store.url, plan))


def redo_dump(store: Store, plan: Plan, keys: Sequence[str], executor: Executor, progress: Progress) -> None:
    """Run the model over these shards again."""
    refuse_other_libraries(plan)
    ensure_scales(plan, store, executor, progress, ScalesJob(store.url, plan))
    tasks = [shard for shard in plan.shards if shard.key in keys]
    progress.start(f"repair dump of {plan.model}", len(tasks), "shards")
    log = FailureLog(store, dump_stage(plan))
    run_tasks("dump", log, executor, DumpJob(store.url, plan), tasks, _counting(progress))
    progress.finish(f"{counted(len(tasks), 'shard')} written again")


def redo_compacted(store: Store, plan: Plan, keys: Sequence[str], executor: Executor, progress: Progress) -> None:
    """Make these long files again from those of their shards; shards whose own files are gone are dumped first."""
    dumped = set(store.receipt_keys(dump_stage(plan)))
    numbers = sorted({number for key in keys for number in compacted_shards(key)[1]})
    gone = [plan.shards[number].key for number in numbers if plan.shards[number].key not in dumped]
    if gone:
        redo_dump(store, plan, gone, executor, progress)
    progress.start(f"repair long files of {plan.model}", len(keys), "files")
    make_files(plan, store, shard_tasks(plan, store, keys), executor, _counting(progress))
    progress.finish(f"{counted(len(keys), 'file')} written again")


def redo_labels(store: Store, plan: Plan, keys: Sequence[str], executor: Executor, progress: Progress) -> None:
    """Compile the plan's concepts on these shards again."""
    concept_set = planned_concepts(plan, store)
    tasks = [task for shard in plan.shards if (task := LabelTask(shard.shard)).key in keys]
    job = LabelJob(store.url, plan.row_space, plan.capture.unit, concept_set, plan.config.concepts.sql_seconds)
    progress.start(f"repair labels of {plan.model}", len(tasks), "shards")
    run_tasks("label", FailureLog(store, concept_set.stage), executor, job, tasks, _counting(progress))
    progress.finish(f"{counted(len(tasks), 'shard')} written again")


def _counting(progress: Progress) -> Any:
    def on_success(_: Outcome) -> None:
        progress.advance()

    return on_success
