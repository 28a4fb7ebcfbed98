"""Which files a run's activations are in: what the receipts of its dump and of its compaction say.

The dump leaves one receipt per shard, with the shard's file of every series. Compaction leaves one receipt per series
and range of consecutive shards, with one long file that replaces the shards' own. Both kinds may be there at once, or
one without the other:

- a shard is *finished* if it has a dump receipt, or compacted files cover it in every series;
- the files to read are, per series and from shard to shard, the longest file that begins there;
- a receipt is *replaced* if none of its files is read: it may be deleted together with them.

So a compacted file that is lost is made again from the shards' files, and where these are gone too the shards are
dumped again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.store import Store
from schemas.errors import IntegrityError

#: Key of the receipt of a run's scales.
SCALES_KEY = "pilot"


class Series(NamedTuple):
    """The files of one block of neurons of one layer, shard after shard."""

    component: str
    layer: int
    block: int

    @property
    def name(self) -> str:
        """Name in receipt keys; sorts by component, layer and block."""
        return f"{self.component}-{self.layer:03d}-{self.block:03d}"


def dump_stage(plan: Plan) -> str:
    """Stage name of the dump's receipts; their keys are the shards'."""
    return f"dump-{plan.run_id}"


def scales_stage(plan: Plan) -> str:
    """Stage name of the pilot's receipt."""
    return f"scales-{plan.run_id}"


def compact_stage(plan: Plan) -> str:
    """Stage name of the compaction's receipts; see :func:`compact_key`."""
    return f"compact-{plan.run_id}"


def compact_key(series: Series, shards: range) -> str:
    """Receipt key of a compacted file: ``resid-003-000/00000-00015``."""
    return f"{series.name}/{shards[0]:05d}-{shards[-1]:05d}"


def compacted_shards(key: str) -> tuple[Series, range]:
    """What :func:`compact_key` was made of."""
    name, _, shards = key.partition("/")
    component, layer, block = name.split("-")
    first, last = shards.split("-")
    return Series(component, int(layer), int(block)), range(int(first), int(last) + 1)


def series_of(file: FileEntry) -> Series:
    """The series that an activation file is of."""
    return Series(str(file.component), int(file.layer or 0), int(file.block or 0))


def all_series(plan: Plan) -> list[Series]:
    """Every series of the run."""
    return [
        Series(component, layer, block)
        for component, layer in plan.capture.targets
        for block in range(len(plan.capture.blocks(component)))
    ]


def finished_shards(plan: Plan, dumped: Iterable[str], compacted: Iterable[str]) -> set[str]:
    """Keys of the plan's shards that are finished, by the keys of the dump's and the compaction's receipts alone."""
    covered: dict[Series, set[int]] = {series: set() for series in all_series(plan)}
    for series, shards in map(compacted_shards, compacted):
        if series in covered:
            covered[series].update(shards)
    in_every_series = set.intersection(*covered.values())
    keys = set(dumped)
    return {shard.key for shard in plan.shards if shard.key in keys or shard.shard in in_every_series}


def read_finished(plan: Plan, store: Store) -> set[str]:
    """:func:`finished_shards` of a store; lists receipts and reads none."""
    return finished_shards(plan, store.receipt_keys(dump_stage(plan)), store.receipt_keys(compact_stage(plan)))


def unfinished_shards(plan: Plan, store: Store) -> list[ShardPlan]:
    """The plan's shards that :func:`read_finished` has not, in order."""
    finished = read_finished(plan, store)
    return [shard for shard in plan.shards if shard.key not in finished]


def shown_shards(plan: Plan, store: Store) -> set[str]:
    """Keys of the plan's shards whose activations the manifest lists; for models without receipts of a dump."""
    files = store.files("activations", plan.run_id)
    return {plan.shards[number].key for file in files for number in file.shards}


def missing_shards(plan: Plan, files: Iterable[FileEntry]) -> list[str]:
    """Keys of the plan's shards that one series' ``files`` do not cover."""
    covered = {number for file in files for number in file.shards}
    return [shard.key for shard in plan.shards if shard.shard not in covered]


def chosen_files(plan: Plan, receipts: Mapping[str, Receipt], compacted: Iterable[Receipt]) -> list[FileEntry]:
    """The files to read, of every series in shard order: the longest that begin where the one before ends.

    ``receipts`` are the dump's. Raises :class:`IntegrityError` for a shard that neither kind of receipt covers.
    """
    longest: dict[Series, dict[int, FileEntry]] = {series: {} for series in all_series(plan)}
    for receipt in (*receipts.values(), *compacted):
        for file in receipt.files:
            series = longest.get(series_of(file))
            if series is not None and len(file.shards) > len(_shards(series.get(file.shards[0]))):
                series[file.shards[0]] = file
    return [file for series, files in longest.items() for file in _chain(plan, series, files)]


def _shards(file: FileEntry | None) -> range:
    return range(0) if file is None else file.shards


def _chain(plan: Plan, series: Series, files: Mapping[int, FileEntry]) -> list[FileEntry]:
    """One series: from shard 0 on, each file followed by the one that begins with the next shard."""
    chain: list[FileEntry] = []
    shard = 0
    while shard < len(plan.shards):
        file = files.get(shard)
        if file is None:
            raise IntegrityError(
                f"run {plan.run_id} ({plan.model}): {plan.shards[shard].key} of {series.component} layer "
                f"{series.layer} has no receipt; dump it with `neuronmill dump`"
            )
        chain.append(file)
        shard = file.shards.stop
    return chain


def replaced_receipts(plan: Plan, store: Store) -> list[Receipt]:
    """Receipts of a finished run's dump and compaction whose files nothing reads: longer ones have taken their place.

    Deleting them with their files loses nothing that the store's manifest lists; a snapshot that was published before
    the compaction still lists them.
    """
    if unfinished_shards(plan, store):
        return []
    dumped, compacted = store.receipts(dump_stage(plan)), store.receipts(compact_stage(plan))
    read = {file.path for file in chosen_files(plan, dumped, compacted.values())}
    listed = {file.path for file in store.files("activations", plan.run_id)}
    every = (*dumped.values(), *compacted.values())
    return [receipt for receipt in every if not any(file.path in read | listed for file in receipt.files)]
