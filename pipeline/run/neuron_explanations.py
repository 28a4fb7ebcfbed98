"""Explanations: the best formula over concepts for chosen neurons, selected on train rows and re-measured on test rows.

The rows that are used are the counted ones of a split or, where there are more than ``max_rows``, a sample of them
drawn by the hash of their ids: the same for every worker. A worker packs the concepts of these rows to bits once, and
holds the values of one task's neurons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.extract.row_sample import is_drawn
from pipeline.run.explained_neurons import Chosen, ChosenTask, Target, chosen_neurons, chosen_tasks
from pipeline.run.fold import ActivationFold, Batch, fold_tasks, kernel_threads, require_dump
from pipeline.run.labelling import ConceptSet, label, planned_concepts
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.ranking_table import capture_params
from pipeline.run.records import concat_run_table, write_run_record
from pipeline.run.search_rows import RowRule, SplitLabels, SplitName
from pipeline.run.work import Executor
from pipeline.search.bit_masks import ConceptMasks
from pipeline.search.explanation import Explainer, Explanation, FormulaSettings
from pipeline.stats.threads import over_neurons
from pipeline.store.parquet import write_table
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.analysis_config import ExplainConfig
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

#: Raised whenever the same activations would give other explanations.
VERSION = 1
#: Seed of the sample of rows.
SEED = 0


@dataclass(frozen=True)
class ExplainJob:
    """Recipe of a worker: the concepts by name, and the number of counted rows per split."""

    store_url: str
    plan: Plan
    stage: str
    labels: str
    """Stage of the label receipts."""
    concepts: tuple[str, ...]
    n_rows: dict[SplitName, int]

    @property
    def selection(self) -> SplitName:
        """The split that formulas are selected on."""
        return "train" if "train" in self.n_rows else "all"

    def share(self, split: SplitName) -> float:
        """Share of a split's rows that is used."""
        return min(1.0, _settings(self.plan).max_rows / self.n_rows[split])

    @property
    def bytes_per_neuron(self) -> int:
        """Memory that the values of a neuron take in a worker: those used, as float32, and a shard while it is read."""
        used = sum(n_rows * self.share(split) for split, n_rows in self.n_rows.items())
        return 4 * int(used) + 16 * max(shard.n_rows for shard in self.plan.shards)

    def open(self) -> ExplainWorker:
        """Make the worker."""
        return ExplainWorker(Store.open(self.store_url).pinned(), self)


@dataclass(frozen=True, eq=False)
class UsedRows:
    """The rows of one split that are used: their numbers in each shard that has any, and their concepts."""

    places: list[tuple[ShardPlan, npt.NDArray[np.int64]]]
    masks: ConceptMasks


class ExplainWorker:
    """Explains the neurons of one task after the other."""

    def __init__(self, store: Store, job: ExplainJob) -> None:
        self.store = store
        self.job = job
        self.fold = ActivationFold(store, job.plan)
        self.labels = SplitLabels(store, job.plan, job.labels, job.concepts, RowRule.as_dumped(job.plan))
        self.threads = kernel_threads(job.plan.config)

    def process(self, task: ChosenTask, attempt: int) -> dict[str, Any]:
        """Write the task's part of ``explanations``."""
        explanations = self._explain(task)
        with self.store.staging() as staging:
            path = state_file(self.job.plan.run_id, f"{self.job.stage}/{task.key}.parquet")
            write_table(staging.path(path), self._columns(task, explanations), TABLES["explanations"].arrow)
            self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        return {"n_rows": self.rows[self.job.selection].masks.n_rows}

    @cached_property
    def rows(self) -> dict[SplitName, UsedRows]:
        """The rows of each split; read once for all tasks."""
        return {split: self._load(split) for split in self.job.n_rows}

    @cached_property
    def explainer(self) -> Explainer:
        """The search over these rows."""
        heldout = self.rows["test"].masks if "test" in self.rows else None
        settings = _formula_settings(_settings(self.job.plan))
        return Explainer(self.rows[self.job.selection].masks, self.job.concepts, settings, heldout)

    def _load(self, split: SplitName) -> UsedRows:
        share = self.job.share(split)
        drawn: list[npt.NDArray[np.bool_]] = []
        places = []
        for shard in self.job.plan.shards:
            rows, of = self.labels.splits(shard)
            inside = rows if split == "all" else rows[of == split]
            drawn.append(_drawn(share, inside + shard.first_row))
            places.append((shard, inside[drawn[-1]]))
        masks = ConceptMasks.empty(len(self.job.concepts), sum(len(inside) for _, inside in places))
        first = 0
        for (shard, inside), chosen in zip(places, drawn, strict=True):
            if len(inside):
                masks.add(self.labels.load(shard).labels[split].select_rows(chosen), first)
            first += len(inside)
        return UsedRows([(shard, inside) for shard, inside in places if len(inside)], masks)

    def _explain(self, task: ChosenTask) -> list[Explanation]:
        values = {split: self._values(task, used) for split, used in self.rows.items()}
        place = {neuron: index for index, neuron in enumerate(task.neurons)}
        explainer, selection = self.explainer, values[self.job.selection]
        found: dict[int, Explanation] = {}

        def work(first: int, last: int) -> None:
            for index in range(first, last):
                chosen = task.chosen[index]
                row = place[chosen.neuron]
                test = values["test"][row] if "test" in values else None
                found[index] = explainer.explain(chosen.neuron, selection[row], test, chosen.sign)

        over_neurons(work, len(task.chosen), self.threads)
        return [found[index] for index in range(len(task.chosen))]

    def _values(self, task: ChosenTask, used: UsedRows) -> npt.NDArray[np.float32]:
        """Values of the task's neurons on the rows used, (n, T)."""
        values = np.empty((len(task.neurons), used.masks.n_rows), np.float32)
        top = 0
        for piece in task.ranges():
            first, n = 0, len(piece.neurons)
            for shard, rows in used.places:
                bits = self.fold.read(piece, shard).take(rows, axis=1)
                batch = Batch(shard, bits, rows, self.job.plan.capture.value_dtype)
                values[top : top + n, first : first + len(rows)] = batch.values()
                first += len(rows)
            top += n
        return values

    def _columns(self, task: ChosenTask, explanations: Sequence[Explanation]) -> dict[str, Any]:
        plan, n = self.job.plan, len(explanations)
        same = ("sign", "formula", "length", "iou", "score", "heldout_iou", "threshold", "n_rows", "n_active")
        more = ("n_formula", "n_both", "concepts", "operands", "operand_shares", "senses", "is_polysemous")
        return {
            "run_id": [plan.run_id] * n,
            "model": [plan.model] * n,
            "component": [task.component] * n,
            "layer": [task.layer] * n,
            "neuron": [found.neuron for found in explanations],
            **{name: [getattr(found, name) for found in explanations] for name in (*same, *more)},
            "unit": [plan.capture.unit] * n,
            "split": [self.job.selection] * n,
            "params": [_params(plan, self.job.share(self.job.selection))] * n,
        }


def explain(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``explanations`` for the run (replacing earlier ones of it); returns the number of neurons explained.

    Without a section ``explain`` its defaults hold. Raises :class:`~schemas.errors.ConfigError` for neurons that are
    not there.
    """
    require_dump(plan, store)
    chosen = _with_section(plan)
    concept_set = label(chosen, store, executor, progress)
    neurons = chosen_neurons(chosen, store, _settings(chosen))
    stage = _stage(chosen, concept_set, neurons)
    n_rows = _split_sizes(store, chosen, concept_set)
    job = ExplainJob(store.url, chosen, stage, concept_set.stage, tuple(concept_set.names), n_rows)
    tasks = chosen_tasks(chosen, neurons, job.bytes_per_neuron)
    receipts = fold_tasks("explain", stage, store, executor, progress, job, tasks)
    concat_run_table(store, chosen, "explanations", _table_key(concept_set, stage, neurons), receipts)
    write_run_record(store, chosen)
    progress.finish(_summary(store, chosen, job))
    return sum(len(entries) for entries in neurons.values())


def explain_stage(plan: Plan, store: Store) -> tuple[str, str]:
    """Stage name of the receipts of the parts, and key of the table's.

    Raises as :func:`explain` where the settings leave no neuron.
    """
    chosen, concept_set = _with_section(plan), planned_concepts(plan, store)
    neurons = chosen_neurons(chosen, store, _settings(chosen))
    stage = _stage(chosen, concept_set, neurons)
    return stage, _table_key(concept_set, stage, neurons)


def _with_section(plan: Plan) -> Plan:
    """The plan with the section ``explain`` in its config."""
    return plan.with_config(plan.config.model_copy(update={"explain": _settings(plan)}))


def _settings(plan: Plan) -> ExplainConfig:
    return plan.config.explain or ExplainConfig()


def _formula_settings(settings: ExplainConfig) -> FormulaSettings:
    return FormulaSettings(settings.alpha, settings.beam, settings.length, settings.penalty)


def _stage(plan: Plan, concept_set: ConceptSet, neurons: dict[Target, list[Chosen]]) -> str:
    """Stage name, of everything that decides an explanation."""
    digest = fingerprint(
        kind="explain",
        version=VERSION,
        run=plan.run_id,
        labels=concept_set.id,
        settings=_settings(plan).model_dump(include={"alpha", "beam", "length", "penalty", "max_rows"}),
        neurons=[
            [component, layer, [[entry.neuron, entry.sign] for entry in entries]]
            for (component, layer), entries in neurons.items()
        ],
    )
    return f"explain-{plan.run_id}-{digest[:12]}"


def _table_key(concept_set: ConceptSet, stage: str, neurons: dict[Target, list[Chosen]]) -> str:
    n_neurons = sum(len(entries) for entries in neurons.values())
    return f"{concept_set.id}-{stage.rpartition('-')[2]}-{n_neurons}"


def _split_sizes(store: Store, plan: Plan, concept_set: ConceptSet) -> dict[SplitName, int]:
    """Counted rows of `train` and, if it has any, `test`; of all where there is no train split."""
    loader = SplitLabels(store, plan, concept_set.stage, (), RowRule.as_dumped(plan))
    n_rows: dict[SplitName, int] = {"train": 0, "test": 0, "all": 0}
    for shard in plan.shards:
        rows, split = loader.splits(shard)
        n_rows["all"] += len(rows)
        n_rows["train"] += int((split == "train").sum())
        n_rows["test"] += int((split == "test").sum())
    if not n_rows["train"]:
        return {"all": n_rows["all"]}
    used: list[SplitName] = ["train", "test"] if n_rows["test"] else ["train"]
    return {split: n_rows[split] for split in used}


def _drawn(share: float, row_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return np.ones(len(row_ids), np.bool_) if share == 1 else is_drawn(share, SEED, row_ids)


def _params(plan: Plan, share: float) -> str:
    """The ``params`` of an explanation as canonical JSON; ``rows`` is the share of the split's rows that was used."""
    settings = _settings(plan)
    params = capture_params(plan) | settings.model_dump(include={"alpha", "beam", "length", "penalty", "max_rows"})
    if share < 1:
        params["rows"] = f"{share:g} by hash, seed {SEED}"
    return json.dumps(params, sort_keys=True)


def _summary(store: Store, plan: Plan, job: ExplainJob) -> str:
    table = store.read_table(store.files("explanations", plan.run_id), ["formula", "is_polysemous", "n_rows"])
    n_formulas, n_polysemous = len(table) - table["formula"].null_count, sum(table["is_polysemous"].to_pylist())
    rows = counted(table["n_rows"][0].as_py(), "row")
    share = job.share(job.selection)
    of = "" if share == 1 else f", a sample of {share:.2g}"
    return (
        f"{counted(n_formulas, 'formula')} for {counted(len(table), 'neuron')}, {n_polysemous} of them polysemous; "
        f"{rows} of {job.selection}{of}"
    )
