"""Removing what nothing vouches for: orphans, dead staging, old manifests; on request old analyses and snapshots.

What is kept, always: files that a receipt, a manifest in use or a snapshot lists, and whatever was touched within the
grace period, because a dump in flight puts its files in place before their receipt. A manifest is *in use* if it is the
latest, or was the latest at any moment of the grace period: a reader that opened the store no longer ago keeps all its
files. The files are listed first, the records read afterwards, so what is committed in between is known. On a local
store the removal holds the locks of all commits, so none is under way while the last records are read; on a remote
store the grace period alone protects a commit, and must be longer than the longest of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from pipeline.store import paths
from pipeline.store.census import DATA, Census, StoredFile, census
from pipeline.store.manifest import Manifest
from pipeline.store.staging import abandoned_staging, sweep_staging
from pipeline.store.storage import LocalStorage, Storage
from pipeline.store.superseded import superseded_receipts
from pipeline.store.vouchers import Vouchers, manifest_numbers, read_vouchers, snapshot_manifest
from schemas.errors import StoreError

GRACE_SECONDS = 86_400.0
#: Manifests that stay in any case, for a look at what a store was like.
KEPT_MANIFESTS = 10


@dataclass(frozen=True)
class GcOptions:
    """What to remove beside orphans and dead staging."""

    older_than: float = GRACE_SECONDS
    """Grace period in seconds."""
    superseded: bool = False
    """Analyses that no manifest in use and no snapshot refers to, too."""
    keep_snapshots: int | None = None
    """Remove all but the last so many snapshots (and ``CURRENT``)."""
    live_stages: frozenset[str] = frozenset()
    """Stages of analyses that the plans' settings make: never superseded."""
    replaced: frozenset[str] = frozenset()
    """Receipts of activations whose files longer ones have replaced: superseded where nothing refers to them."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing to remove."""

    kind: str
    """`orphan`, `staging`, `manifest`, `superseded` or `snapshot`."""
    path: str
    n_bytes: int


@dataclass(frozen=True)
class GcReport:
    """What was removed, or would be, and what is not the store's."""

    garbage: tuple[Garbage, ...]
    foreign: tuple[str, ...]
    n_young: int
    """Files that nothing vouches for and that are too young to be removed."""


def collect(storage: Storage, options: GcOptions, *, dry_run: bool = False, now: float | None = None) -> GcReport:
    """Remove garbage (with ``dry_run`` only say what it is). ``now`` is the time that ages are counted from."""
    moment = time.time() if now is None else now
    staging = tuple(Garbage("staging", name, size) for name, size in abandoned_staging(storage))
    listed = census(storage)
    if dry_run:
        found = _find(storage, listed, options, moment, read_vouchers(storage))
    else:
        sweep_staging(storage)
        before = read_vouchers(storage)
        with _no_commit(storage):
            found = _find(storage, listed, options, moment, read_vouchers(storage, before.receipts))
            _remove(storage, found.garbage)
    return GcReport((*staging, *found.garbage), listed.foreign, found.n_young)


@contextmanager
def _no_commit(storage: Storage) -> Iterator[None]:
    """Hold the locks of all commits of a local store; a committer holds one and waits for no other."""
    with ExitStack() as stack:
        if isinstance(storage, LocalStorage):
            stack.enter_context(storage.lock_all())
        yield


def _find(storage: Storage, listed: Census, options: GcOptions, now: float, vouchers: Vouchers) -> GcReport:
    # set aside: a repair is under way, or was killed
    if torn := [*(record.path for record in vouchers.torn), *storage.list(paths.REPAIRS)]:
        raise StoreError(
            f"store {storage.root}: {len(torn)} records cannot be read or are set aside ({', '.join(torn[:3])}), and "
            "what they vouch for is not known; run `neuronmill verify --repair` first. Nothing was removed"
        )
    old = {file.path: file for file in listed.files if now - file.touched > options.older_than}
    gone = _old_snapshots(storage, vouchers, old, options.keep_snapshots)
    in_use, unused = _manifests(storage, listed, old)
    kept = {snapshot: manifest for snapshot, manifest in vouchers.snapshots.items() if snapshot not in gone}
    referred = {entry.path for manifest in (*in_use, *kept.values()) for entry in manifest.entries()}
    stale = _superseded(vouchers, referred, options) & old.keys()
    receipts = {path: receipt for path, receipt in vouchers.receipts.items() if path not in stale}
    vouched = referred | {entry.path for receipt in receipts.values() for entry in receipt.files}
    of_stale = {entry.path for path in stale for entry in vouchers.receipts[path].files} - vouched
    orphans = [path for path in _data_files(listed, vouchers) if path not in vouched | of_stale]
    garbage = (
        *_garbage("manifest", unused, old),
        *_garbage("snapshot", [snapshot_manifest(snapshot) for snapshot in gone], old),
        *_garbage("snapshot", [f"{paths.snapshot_folder(snapshot)}/{paths.DATABASE}" for snapshot in gone], old),
        # receipts before files: killed in between, files are left without a receipt, which the next time ends
        *_garbage("superseded", sorted(stale, key=paths.natural_key), old),
        *_garbage("superseded", sorted(of_stale, key=paths.natural_key), old),
        *_garbage("orphan", orphans, old),
    )
    return GcReport(garbage, listed.foreign, sum(path not in old for path in orphans))


def _superseded(vouchers: Vouchers, referred: AbstractSet[str], options: GcOptions) -> frozenset[str]:
    """Receipts that go with their files, if those are asked for."""
    if not options.superseded:
        return frozenset()
    replaced = options.replaced & vouchers.receipts.keys()
    unread = {path for path in replaced if not any(e.path in referred for e in vouchers.receipts[path].files)}
    return superseded_receipts(vouchers.receipts, referred, options.live_stages) | unread


def _garbage(kind: str, found: Sequence[str], old: dict[str, StoredFile]) -> list[Garbage]:
    return [Garbage(kind, path, old[path].n_bytes) for path in found if path in old]


def _data_files(listed: Census, vouchers: Vouchers) -> Iterator[str]:
    """Files that a record has to list: data, and files of snapshots that have no list (an upload that was killed)."""
    for file in listed.files:
        parts = file.path.split("/")
        is_of_snapshot = parts[0] == paths.SNAPSHOTS and parts[1] not in vouchers.snapshots
        if parts[0] in DATA or is_of_snapshot:
            yield file.path


def _manifests(storage: Storage, listed: Census, old: dict[str, StoredFile]) -> tuple[list[Manifest], list[str]]:
    """Manifests in use, and the paths of those that may go.

    In use are all that were written within the grace period, and the last one before it.
    """
    numbers = manifest_numbers(storage)
    known = {file.path for file in listed.files}
    young = [n for n in numbers if paths.manifest_file(n) not in known or paths.manifest_file(n) not in old]
    settled = [n for n in numbers if n not in young]
    in_use = {*settled[-1:], *young, *numbers[-1:]}
    unused = [paths.manifest_file(n) for n in numbers[:-KEPT_MANIFESTS] if n not in in_use]
    read = []
    for number in sorted(in_use):
        path = paths.manifest_file(number)
        read.append(Manifest.from_json(storage.read(path), path))
    return read, unused


def _old_snapshots(storage: Storage, vouchers: Vouchers, old: dict[str, StoredFile], keep: int | None) -> list[str]:
    """Snapshots to remove: neither among the last ``keep`` nor ``CURRENT``, nor published within the grace period."""
    if keep is None:
        return []
    current = storage.read(paths.CURRENT_FILE).decode().strip() if storage.exists(paths.CURRENT_FILE) else ""
    ordered = sorted(vouchers.snapshots, key=lambda snapshot: vouchers.snapshots[snapshot].number)
    droppable = ordered[: max(0, len(ordered) - keep)]
    return [s for s in droppable if s != current and snapshot_manifest(s) in old]


def _remove(storage: Storage, garbage: Sequence[Garbage]) -> None:
    for thing in garbage:
        storage.delete(thing.path)
    if isinstance(storage, LocalStorage):
        for folder in {thing.path.rpartition("/")[0] for thing in garbage if thing.kind == "snapshot"}:
            with suppress(OSError):  # something else is in it
                (storage.folder / folder).rmdir()
