"""The two folds of a search: ``ConceptMoments`` for the methods by means, thresholds swept for the others.

A task leaves what its neurons came to in the store, for all methods of its kind, so another method, another ``keep`` or
fewer layers cost no activation to be read. Other neurons, or other memory, cut other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import ActivationFold, Batch, NeuronTask, ShardCache, kernel_threads
from pipeline.run.plan_record import Plan
from pipeline.run.score_files import save_moments, save_scores
from pipeline.run.search_rows import RowRule, ShardLabels, SplitLabels, SplitName
from pipeline.search.search_states import BlockScores, score_block, score_sweeps
from pipeline.search.sweep import CutRule, Cuts, Sweep, sweep_columns
from pipeline.search.sweep_kernel import N_RESULTS
from pipeline.stats.codes import N_CODES, encode_codes, round_to_bits
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.concept_moments import ConceptMoments
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.errors import IntegrityError

Kind = Literal["means", "thresholds"]


@dataclass(frozen=True)
class SearchJob:
    """Recipe of a search worker: what it folds, over which rows, for which concepts."""

    store_url: str
    plan: Plan
    kind: Kind
    stage: str
    labels: str
    """Stage of the label receipts: the workers read these files, whatever the manifest says meanwhile."""
    rule: RowRule
    concepts: tuple[str, ...]
    splits: dict[SplitName, tuple[int, ...]]
    """Positive rows per concept of each split that is used."""
    n_rows: dict[SplitName, int]

    @property
    def selection(self) -> SplitName:
        """The split that neurons are selected on."""
        return "train" if "train" in self.splits else "all"

    @property
    def cuts(self) -> CutRule:
        """Where thresholds cut."""
        search = self.plan.config.search
        return CutRule(search.alpha, search.threshold, search.intervals)

    @property
    def device(self) -> str:
        """Where histograms are counted and swept."""
        return self.plan.config.search.device

    @property
    def is_sorted(self) -> bool:
        """Whether neurons are sorted: float32 values that are not to be rounded."""
        return self.rule.is_float32(self.plan.capture.value_dtype) and self.plan.config.search.round_to is None

    def bytes_per_neuron(self) -> int:
        """Memory of one neuron's states."""
        if self.kind == "means":
            return 32 * len(self.concepts) * len(self.splits)
        # per concept the sums of a sweep, its thresholds, and the scores of all methods
        results = len(self.concepts) * (len(self.splits) * 8 * (N_RESULTS + 2) + 200)
        if self.is_sorted:
            return results + 4 * sum(self.n_rows.values())
        counts = [np.array(n_pos, np.int64) for n_pos in self.splits.values()]
        if self.device == "cpu":
            return results + sum(ConceptHistogram.bytes_per_neuron(n_pos) for n_pos in counts)
        # every positive's code, and a dozen cumulative sums over the codes of one concept
        return results + 12 * 8 * N_CODES + 2 * int(sum(n_pos.sum() for n_pos in counts))

    def fixed_bytes(self) -> int:
        """Memory that sorting takes for each thread's column, whatever the number of neurons."""
        threads = kernel_threads(self.plan.config)
        return 77 * threads * max(self.n_rows.values()) if self.kind == "thresholds" and self.is_sorted else 0

    def open(self) -> MeansWorker | ThresholdWorker:
        """Make the worker."""
        worker = MeansWorker if self.kind == "means" else ThresholdWorker
        return worker(Store.open(self.store_url).pinned(), self)


class SearchFold:
    """What both workers share: the rows of a task, shard by shard, and leaving results in the store."""

    def __init__(self, store: Store, job: SearchJob) -> None:
        self.store = store
        self.job = job
        self.fold = ActivationFold(store, job.plan)
        self.labels = ShardCache(SplitLabels(store, job.plan, job.labels, job.concepts, job.rule).load)
        self.threads = kernel_threads(job.plan.config)

    def values(self, task: NeuronTask) -> Iterator[tuple[npt.NDArray[np.float32], ShardLabels]]:
        """float32 values (n, U) and labels of every shard that has counted rows."""
        return self._rows(task, Batch.values)

    def _rows(
        self, task: NeuronTask, of: Callable[[Batch], npt.NDArray[Any]]
    ) -> Iterator[tuple[npt.NDArray[Any], ShardLabels]]:
        """What ``of`` makes of every shard's counted rows (n, T), pooled to (n, U), and their labels."""
        for batch in self.fold.batches(task):
            labels = self.labels[batch.shard]
            yield self.job.rule.pool(of(batch), labels.starts), labels

    def stored(self, task: NeuronTask) -> Iterator[tuple[npt.NDArray[Any], ShardLabels]]:
        """Values as they are stored, bits of 16 or float32; as float32 where pooling has to compare or add them."""
        if self.job.rule.pooling in ("max", "mean") or self.job.plan.capture.value_dtype == "float32":
            return self.values(task)
        return self._rows(task, lambda batch: batch.bits.view(np.uint16))

    def codes(self, task: NeuronTask) -> Iterator[tuple[npt.NDArray[np.uint16], ShardLabels]]:
        """Order-preserving codes (n, U) and labels; rounded, where the values have none of their own."""
        rule, dtype = self.job.rule, self.code_dtype
        if not rule.is_float32(self.job.plan.capture.value_dtype):
            return self._rows(task, lambda batch: batch.codes(self.threads))
        return (
            (encode_codes(round_to_bits(values, dtype), dtype, threads=self.threads), labels)
            for values, labels in self.values(task)
        )

    @property
    def code_dtype(self) -> str:
        """What codes stand for."""
        capture, search = self.job.plan.capture, self.job.plan.config.search
        return (search.round_to or "") if self.job.rule.is_float32(capture.value_dtype) else capture.value_dtype

    def check(self, task: NeuronTask, split: SplitName, n_pos: npt.NDArray[np.int64]) -> None:
        """Raise :class:`IntegrityError` if the labels are not those of the job."""
        if n_pos.tolist() != list(self.job.splits[split]):
            raise IntegrityError(f"{task.key}: the labels changed while the search ran; start it again")

    def path(self, task: NeuronTask) -> str:
        """Where the task's result belongs."""
        return state_file(self.job.plan.run_id, f"{self.job.stage}/{task.key}.npz")


def of_split(values: npt.NDArray[Any], shard: ShardLabels, split: str) -> npt.NDArray[Any]:
    """Those of ``values`` (n, U) whose rows are in a split."""
    rows = shard.rows[split]
    return values if len(rows) == values.shape[1] else np.take(values, rows, axis=1)


class MeansWorker(SearchFold):
    """Folds the moments of one range of neurons after the other."""

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Leave the moments of every split in the store."""
        job = self.job
        states = {split: ConceptMoments.empty(len(task.neurons), len(job.concepts)) for split in job.splits}
        n_rows = 0
        for values, shard in self.stored(task):
            n_rows += values.shape[1]
            for split, state in states.items():
                part, labels = of_split(values, shard, split), shard.labels[split]
                if values.dtype == np.uint16:
                    state.update_bits(part, job.plan.capture.value_dtype, labels, self.threads)
                else:
                    state.update(part, labels, self.threads)
        for split, state in states.items():
            self.check(task, split, state.n_pos)
        with self.store.staging() as staging:
            save_moments(staging.path(self.path(task)), states[job.selection], states.get("test"))
            self.store.commit(staging, job.stage, task.key, {"attempt": attempt})
        return {"n_rows": n_rows}


class ThresholdWorker(SearchFold):
    """Scores one range of neurons after the other by all methods that look at thresholds."""

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Leave the scores in the store."""
        if self.job.is_sorted:
            scores = self._sorted(task)
        else:
            scores = self._counted(task) if self.job.device == "cpu" else self._on_device(task)
        with self.store.staging() as staging:
            save_scores(staging.path(self.path(task)), scores)
            self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        return {"n_rows": sum(self.job.n_rows.values())}

    def _counted(self, task: NeuronTask) -> BlockScores:
        """From the histogram of all 65,536 codes, which is the sorted column."""
        job, n = self.job, len(task.neurons)
        states = {
            split: ConceptHistogram.empty(n, len(job.concepts), self.code_dtype, np.array(n_pos, np.int64))
            for split, n_pos in job.splits.items()
        }
        for codes, shard in self.codes(task):
            for split, state in states.items():
                state.update(of_split(codes, shard, split), shard.labels[split], self.threads)
        for split, state in states.items():
            self.check(task, split, state.n_pos)
        return score_block(states[job.selection], states.get("test"), rule=job.cuts, threads=self.threads)

    def _on_device(self, task: NeuronTask) -> BlockScores:
        """The same by torch."""
        # torch takes seconds and half a gigabyte, which workers without a device have no use for
        from pipeline.search.device_sweep import DeviceHistogram, device_cuts, device_sweep  # noqa: PLC0415

        job, n = self.job, len(task.neurons)
        states = {split: DeviceHistogram(n, len(job.concepts), self.code_dtype, job.device) for split in job.splits}
        for codes, shard in self.codes(task):
            for split, state in states.items():
                state.update(of_split(codes, shard, split), shard.labels[split])
        for split, state in states.items():
            self.check(task, split, state.n_pos)
        train = device_sweep(states[job.selection], device_cuts(states[job.selection], job.cuts))
        test = device_sweep(states["test"], train.cuts) if "test" in states else None
        return score_sweeps(train, test)

    def _sorted(self, task: NeuronTask) -> BlockScores:
        """From whole columns of float32, which have no short list of codes."""
        job = self.job
        columns = {split: np.empty((len(task.neurons), n), np.float32) for split, n in job.n_rows.items()}
        labels: dict[SplitName, list[LabelMatrix]] = {split: [] for split in job.splits}
        filled = dict.fromkeys(job.splits, 0)
        for values, shard in self.values(task):
            for split, column in columns.items():
                part = of_split(values, shard, split)
                column[:, filled[split] : filled[split] + part.shape[1]] = part
                filled[split] += part.shape[1]
                labels[split].append(shard.labels[split])

        def swept(split: SplitName, cuts: Cuts | None) -> Sweep:
            stacked, values = LabelMatrix.stack(labels[split], len(job.concepts)), columns[split]
            self.check(task, split, stacked.counts)
            return sweep_columns(values.__getitem__, len(values), stacked, job.cuts, cuts, threads=self.threads)

        train = swept(job.selection, None)
        return score_sweeps(train, swept("test", train.cuts) if "test" in columns else None)
