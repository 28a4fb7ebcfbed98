"""The scales of an ``int8`` dump: chosen once from a pilot sample of the corpus, before anything is dumped.

The pilot is sentences drawn by hash, with about :data:`PILOT_ROWS` rows (all sentences of a small corpus). One worker
runs them; the largest |x| of each neuron decides its scale. The scales are committed like any piece of work, so of
several drivers one wins, and every worker and every resumed run reads the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.extract.capture import Target
from pipeline.extract.extractor import Extractor
from pipeline.extract.int8_codes import LARGEST_VALUE, Floats, choose_scales
from pipeline.extract.row_sample import is_drawn
from pipeline.extract.sequences import Sequences, select_sequences
from pipeline.extract.storage_dtype import Bits
from pipeline.run.dump_files import SCALES_KEY, scales_stage
from pipeline.run.failures import FailureLog
from pipeline.run.plan_record import Capture, Plan, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.work import Executor, Job, run_tasks
from pipeline.store.parquet import write_table
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import ActivationError, IncompleteError, IntegrityError
from schemas.scales import SCALES

#: Rows the pilot aims at.
PILOT_ROWS = 2_000
#: Rows of the pilot in memory at once, in float32 over all layers.
_ROWS_AT_ONCE = 256
_SEED = 0

Scales = dict[Target, Floats]
ReadSequences = Callable[[Store, Plan, ShardPlan], Sequences]


@dataclass(frozen=True)
class ScalesTask:
    """The one task of the stage."""

    key: str = SCALES_KEY


class ScalesWorker:
    """Runs the pilot and leaves the scales in the store."""

    def __init__(self, store: Store, plan: Plan, extractor: Extractor, read: ReadSequences) -> None:
        self.store = store
        self.plan = plan
        self.extractor = extractor
        self.read = read

    def process(self, task: ScalesTask, attempt: int) -> dict[str, Any]:
        """Facts: rows of the pilot."""
        capture = self.plan.capture
        largest: Scales = {t: np.zeros(capture.n_neurons(t[0]), np.float32) for t in capture.targets}
        n_rows = 0
        for sequences in pilot_sequences(self.store, self.plan, self.read):
            n_rows += sequences.n_rows
            for target, found in largest_values(self.extractor.extract(sequences)).items():
                np.maximum(largest[target], found, out=largest[target])
        refuse_overflow(largest, capture)
        facts = {"attempt": attempt, "n_rows": n_rows, "token_budget": self.extractor.token_budget_used}
        with self.store.staging() as staging:
            path = staging.path(state_file(self.plan.run_id, "scales.parquet"))
            write_table(path, _columns(largest, capture), SCALES.arrow)
            self.store.commit(staging, scales_stage(self.plan), task.key, facts)
        return facts


def largest_values(rows: dict[Target, Bits]) -> Scales:
    """Largest |x| (N,) of every target over its float32 ``rows`` (T, N), T ≥ 1."""
    return {target: np.abs(values.view(np.float32)).max(axis=0) for target, values in rows.items()}


def refuse_overflow(largest: Scales, capture: Capture) -> None:
    """Raise :class:`ActivationError` for a neuron that is beyond what 8 bits can hold in the pilot already."""
    for (component, layer), found in largest.items():
        beyond = np.flatnonzero(found > LARGEST_VALUE)
        if len(beyond):
            neuron = _numbers(capture, component)[beyond[0]]
            raise ActivationError(
                f"{component} layer {layer} neuron {neuron}: value {found[beyond[0]]:g} is beyond int8 "
                f"(largest {LARGEST_VALUE:g}); dump with dtype bfloat16"
            )


def _numbers(capture: Capture, component: str) -> npt.NDArray[np.int64]:
    """The captured neurons of a component, as numbered in the layer."""
    return np.concatenate([np.arange(piece.start, piece.stop) for piece in capture.pieces(component)])


def _columns(largest: Scales, capture: Capture) -> dict[str, Any]:
    parts = []
    for (component, layer), found in largest.items():
        place = np.full(len(found), component), np.full(len(found), layer), _numbers(capture, component)
        parts.append((*place, found, choose_scales(found)))
    names = ("component", "layer", "neuron", "largest", "scale")
    columns = dict(zip(names, (np.concatenate(column) for column in zip(*parts, strict=True)), strict=True))
    return {**columns, "component": columns["component"].tolist()}


def pilot_sequences(store: Store, plan: Plan, read: ReadSequences) -> Iterator[Sequences]:
    """The pilot's sentences with their rows, a few hundred rows at a time, in corpus order."""
    share = min(1.0, PILOT_ROWS / max(plan.n_rows, 1))
    while share < 1 and _n_rows(store, plan, share) < PILOT_ROWS // 2:  # few long sentences, or bad luck
        share = min(1.0, 2 * share)
    for shard in plan.shards:
        drawn = _drawn(shard, share)
        if len(drawn):
            yield from _chunks(read(store, plan, shard), _sentences(store, plan, shard), drawn)


def _drawn(shard: ShardPlan, share: float) -> npt.NDArray[np.int64]:
    """The drawn sentences of a shard; none of one without rows."""
    ids = np.arange(shard.first_sentence, shard.first_sentence + shard.n_sentences)
    return ids[is_drawn(share, _SEED, ids)] if shard.n_rows else ids[:0]


def _n_rows(store: Store, plan: Plan, share: float) -> int:
    """Rows of the sentences that are drawn."""
    n_rows = 0
    for shard in plan.shards:
        drawn = _drawn(shard, share)
        if len(drawn):
            rows = store.read_table(store.files("rows", plan.row_space, shard=shard.shard), ["sentence_id"])
            n_rows += int(np.isin(rows["sentence_id"].to_numpy(), drawn).sum())
    return n_rows


def _sentences(store: Store, plan: Plan, shard: ShardPlan) -> npt.NDArray[np.int64]:
    """Sentence of every token of a shard."""
    tokens = store.read_table(store.files("tokens", plan.row_space, shard=shard.shard), ["sentence_id"])
    found: npt.NDArray[np.int64] = tokens["sentence_id"].to_numpy()
    return found


def _chunks(sequences: Sequences, sentence: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]) -> Iterator[Sequences]:
    """The drawn sentences of a shard that have rows, whole, cut after every :data:`_ROWS_AT_ONCE` rows."""
    has_row = sequences.token_row >= 0
    wanted = np.flatnonzero(has_row & np.isin(sentence, drawn))
    # rows of a shard are numbered in the order of its sentences
    rows, first = np.unique(sequences.token_row[wanted], return_index=True)
    of_row = sentence[wanted[first]]
    of_sequence = sentence[sequences.offsets[:-1]]
    at = 0
    while at < len(rows):
        end = min(at + _ROWS_AT_ONCE, len(rows))
        end = int(np.searchsorted(of_row, of_row[end - 1], side="right"))
        yield select_sequences(sequences, np.flatnonzero(np.isin(of_sequence, of_row[at:end])))
        at = end


def ensure_scales(plan: Plan, store: Store, executor: Executor, progress: Progress, job: Job) -> None:
    """Choose the scales unless the store has them, by ``job`` on a worker of ``executor``."""
    if plan.capture.dtype != "int8" or store.receipt(scales_stage(plan), SCALES_KEY) is not None:
        return
    progress.start(f"scales {plan.model}", 1, "samples", 0)
    run_tasks(
        "scales",
        FailureLog(store, scales_stage(plan)),
        executor,
        job,
        [ScalesTask()],
        lambda outcome: progress.advance(1, n_rows=(outcome.facts or {})["n_rows"]),
    )
    progress.finish(counted(sum(plan.capture.n_neurons(c) for c, _ in plan.capture.targets), "neuron"))


def load_scales(plan: Plan, store: Store) -> Scales:
    """Scales (N,) of every target of an ``int8`` dump; of other dumps none."""
    if plan.capture.dtype != "int8":
        return {}
    receipt = store.receipt(scales_stage(plan), SCALES_KEY)
    if receipt is None:
        raise IncompleteError(
            f"run {plan.run_id}: the scales of its int8 dump are not there; start the dump again, which makes them"
        )
    for entry in receipt.files:
        # a wrong scale would be a wrong value in every file of the dump
        if not store.exists(entry.path) or store.storage.sha256(entry.path) != entry.sha256:
            raise IntegrityError(
                f"run {plan.run_id}: {entry.path}, which holds the scales of its int8 dump, is gone or damaged; "
                "`neuronmill verify --repair` makes it again"
            )
    table = store.read_table(receipt.files, ["component", "layer", "neuron", "scale"])
    component, layer = np.array(table["component"].to_pylist()), table["layer"].to_numpy()
    scale = table["scale"].to_numpy()  # by target, then neuron
    return {(c, number): scale[(component == c) & (layer == number)] for c, number in plan.capture.targets}
