"""Status: how far a store's runs are, read from outside while others work on them.

Only listings and a few small records are read: no lock is taken, nothing is written, and what appears or goes away
meanwhile is counted or not. When a piece was finished is the time its receipt was written, by the clock of the store's
disk or server; a store copied without its times has lost them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.run.dump_files import compact_stage, dump_stage, finished_shards, shown_shards
from pipeline.run.failures import Failure
from pipeline.run.labelling import planned_concepts
from pipeline.run.neuron_choice import n_chosen
from pipeline.run.neuron_contexts import contexts_stage
from pipeline.run.pace import Pace, pace
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, planned_models
from pipeline.run.receipt_sample import ReceiptSample, sample_receipts
from pipeline.run.statistics import statistics_stage
from pipeline.store import paths
from pipeline.store.owners import has_ended
from pipeline.store.publish import current_snapshot, snapshot_id
from pipeline.store.store import Store

#: Receipts by stage and key, with the time each was written.
Listing = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is."""

    stage: str
    """`plan`, `label`, `dump`, `stats`, `search`, `contexts` or `publish`."""
    done: int
    total: int | None
    """None while a plan is being made."""
    unit: str
    """`shards`, `neurons` or `snapshots`."""
    complete: bool
    """All pieces are done, and their table is made."""
    pace: Pace = field(default_factory=Pace)
    """In rows, or in neurons where the unit is that."""
    n_rows: int | None = None
    """Rows of the finished shards."""
    seconds_left: float | None = None
    failures: tuple[Failure, ...] = ()
    sample: ReceiptSample | None = None
    """What the dump's receipts tell of bytes and attempts."""


@dataclass(frozen=True)
class RunStatus:
    """The stages of one model's run."""

    run_id: str
    model: str
    stages: tuple[StageStatus, ...]


@dataclass(frozen=True)
class Working:
    """A command that holds a lease of the store."""

    lease: str
    command: str
    host: str
    process: int | None
    started: str | None


@dataclass(frozen=True)
class StoreStatus:
    """Everything :func:`read_status` finds."""

    store: str
    runs: tuple[RunStatus, ...]
    publish: StageStatus
    snapshot: str | None
    working: tuple[Working, ...]

    @property
    def stages(self) -> list[StageStatus]:
        """The stages of all runs, then `publish`."""
        return [*(stage for run in self.runs for stage in run.stages), self.publish]

    def complete(self, only: tuple[str, ...] = ()) -> bool:
        """Whether every stage (every one named in ``only``) of every run is complete."""
        found = [stage for stage in self.stages if not only or stage.stage in only]
        return bool(self.runs) and all(stage.complete for stage in found)


def read_status(store: Store, alias: str | None = None) -> StoreStatus:
    """The status of all runs, or of the model ``alias``; :class:`~schemas.errors.ConfigError` if it is not planned."""
    now = time.time()
    listing = _list_receipts(store)
    failures = _failures(store)
    models = planned_models(store) if alias is None else [alias]
    runs = tuple(_RunReader(load_plan(store, model), store, listing, failures, now).status() for model in models)
    if not runs:
        runs = (RunStatus("", "", (_planning(listing, now),)),) if "corpus" in listing else ()
    are_complete = bool(runs) and all(stage.complete for run in runs for stage in run.stages)
    snapshot = current_snapshot(store)
    is_published = snapshot is not None and _is_published(store, snapshot, are_complete)
    publish = StageStatus("publish", int(is_published), 1, "snapshots", is_published)
    return StoreStatus(store.url, runs, publish, snapshot, _working(store, now))


def _list_receipts(store: Store) -> Listing:
    """One listing of all receipts."""
    listing: dict[str, dict[str, float | None]] = {}
    for path, at in store.storage.modified(paths.RECEIPTS).items():
        _, stage, key = path.split("/", 2)
        listing.setdefault(stage, {})[key.removesuffix(".json")] = at
    return listing


class _RunReader:
    """One run's stages in a listing."""

    def __init__(self, plan: Plan, store: Store, listing: Listing, failures: list[Failure], now: float) -> None:
        self.plan, self.store, self.listing, self.failures, self.now = plan, store, listing, failures, now
        self.rows = {shard.key: shard.n_rows for shard in plan.shards}
        self.concepts = planned_concepts(plan, store)

    def status(self) -> RunStatus:
        """All stages in order."""
        plan, concepts = self.plan, self.concepts
        planned = StageStatus("plan", len(plan.shards), len(plan.shards), "shards", True, n_rows=plan.n_rows)
        labelled = self._shards("label", concepts.stage, set(self._keys(concepts.stage)))
        stats, contexts, search = statistics_stage(plan), contexts_stage(plan), self._latest_search()
        chosen = n_chosen(plan, plan.config.contexts.neurons)
        is_ranked = any(
            key.startswith(f"{concepts.id}-") and f"-{search.rpartition('-')[2]}-" in key for key in self._rankings()
        )
        return RunStatus(
            plan.run_id,
            plan.model,
            (
                planned,
                labelled,
                self._dump(),
                self._neurons("stats", stats, stats in self._keys(f"neuron_stats-{plan.run_id}")),
                self._neurons("search", search, is_ranked),
                self._neurons("contexts", contexts, contexts in self._keys(f"contexts-{plan.run_id}"), chosen),
            ),
        )

    def _keys(self, stage: str) -> Mapping[str, float | None]:
        return self.listing.get(stage, {})

    def _rankings(self) -> list[str]:
        """Keys of all tables of rankings made, ``<concept set>-<fold>-…-<settings>``."""
        return list(self._keys(f"rankings-{self.plan.run_id}"))

    def _failed(self, stage: str, finished: Collection[str]) -> tuple[Failure, ...]:
        return tuple(found for found in self.failures if found.stage == stage and found.key not in finished)

    def _dump(self) -> StageStatus:
        """The dump; shards whose receipts compaction has replaced count as finished."""
        if self.plan.is_imported:
            return self._shards("dump", "import", shown_shards(self.plan, self.store))
        stage = dump_stage(self.plan)
        finished = finished_shards(self.plan, self._keys(stage), self._keys(compact_stage(self.plan)))
        return self._shards("dump", stage, finished, sample_receipts(self.store, stage, self._keys(stage), self.rows))

    def _shards(self, name: str, stage: str, finished: set[str], sample: ReceiptSample | None = None) -> StageStatus:
        """A stage with a receipt per shard."""
        rows, times = self.rows, self._keys(stage)
        n_rows = sum(n for key, n in rows.items() if key in finished)
        n_done = sum(key in finished for key in rows)
        is_complete = n_done == len(rows)
        pieces = [(at, rows[key]) for key, at in times.items() if at is not None and key in rows]
        speed = pace(pieces, None if is_complete else self.now)
        left = None if is_complete else speed.seconds_left(self.plan.n_rows - n_rows)
        failed = self._failed(stage, finished)
        return StageStatus(name, n_done, len(rows), "shards", is_complete, speed, n_rows, left, failed, sample)

    def _neurons(self, name: str, stage: str, is_made: bool, n_neurons: int | None = None) -> StageStatus:
        """A fold (of all neurons or ``n_neurons``): its receipts' keys tell how many; at its end a table is made."""
        times, capture = self._keys(stage), self.plan.capture
        sizes = {key: _n_neurons(key) for key in times}
        every = sum(capture.n_neurons(component) for component, _ in capture.targets)
        done, total = _n_covered(times), every if n_neurons is None else n_neurons
        if is_made:  # a search may be of some layers only
            total = done
        pieces = [(at, sizes[key]) for key, at in times.items() if at is not None]
        speed = pace(pieces, None if is_made else self.now)
        left = speed.seconds_left(total - done) if done < total else None
        failed = self._failed(stage, times)
        return StageStatus(name, done, total, "neurons", is_made, speed, None, left, failed)

    def _latest_search(self) -> str:
        """Stage of the search's fold worked on last; "" if that was of other concepts than the plan's are now."""
        stages = [stage for stage in self.listing if stage.startswith(f"search-{self.plan.run_id}-")]
        latest = max(stages, key=lambda stage: max(at or 0 for at in self.listing[stage].values()), default="")
        digest = latest.rpartition("-")[2]
        made_by = {key.partition("-")[0] for key in self._rankings() if f"-{digest}-" in key}
        return latest if not made_by or self.concepts.id in made_by else ""


def _n_neurons(key: str) -> int:
    """Neurons of a task's receipt, ``resid-003-000000-000512``."""
    first, stop = key.split("-")[-2:]
    return int(stop) - int(first)


def _n_covered(keys: Iterable[str]) -> int:
    """Neurons of any of these tasks: other settings of memory, or of neurons, leave tasks that overlap."""
    pieces: dict[str, set[int]] = {}
    for key in keys:
        target, first, stop = key.rsplit("-", 2)
        pieces.setdefault(target, set()).update(range(int(first), int(stop)))
    return sum(len(neurons) for neurons in pieces.values())


def _planning(listing: Listing, now: float) -> StageStatus:
    """A plan that is being made: how many shards are cut."""
    times = [at for at in listing["corpus"].values() if at is not None]
    return StageStatus("plan", len(listing["corpus"]), None, "shards", False, pace([(at, 0) for at in times], now))


def _failures(store: Store) -> list[Failure]:
    found = []
    for path in store.storage.list(paths.FAILURES):
        content = store.read_if_there(path)
        if content is not None:
            found.append(Failure(**json.loads(content)))
    return found


def _is_published(store: Store, snapshot: str, compare: bool) -> bool:
    """Whether the snapshot shows what the latest manifest does; ``compare`` them by content if it must be."""
    path = f"{paths.snapshot_folder(snapshot)}/manifest.json"
    if not store.exists(path):
        return False
    with store.storage.open_binary(path) as file:
        head = file.read(64).decode(errors="replace")
    if head.startswith(f'{{"number": {_latest_number(store)},'):
        return True
    return compare and snapshot_id(store.manifest()) == snapshot


def _latest_number(store: Store) -> int:
    names = (path.rpartition("/")[2].removesuffix(".json") for path in store.storage.list(paths.MANIFESTS))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _working(store: Store, now: float) -> tuple[Working, ...]:
    """Holders of leases that are not over: the process has not ended, and the record was renewed in its lifetime."""
    found = []
    for path, at in store.storage.modified("leases").items():
        content = store.read_if_there(path)
        if content is None:
            continue
        try:
            record = dict(json.loads(content))
            lifetime = float(record.get("lifetime", 60.0))
        except (ValueError, TypeError):  # torn by a crash: nobody is known
            record, lifetime = {}, 60.0
        ended = has_ended(str(record.get("owner", "")))
        if ended if ended is not None else at is not None and now - at > lifetime:
            continue
        lease = path.rpartition("/")[2].removesuffix(".json")
        place = str(record.get("host", "an unknown machine"))
        found.append(
            Working(lease, str(record.get("command", "")), place, record.get("process"), record.get("started"))
        )
    return tuple(found)
