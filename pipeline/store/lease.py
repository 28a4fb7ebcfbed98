"""Leases: who works on a store now, so that a second driver of the same run waits or refuses.

A lease is a record at ``leases/<name>.json``. ``run-<model>`` is held by a command that works on that model's run,
``publish`` by one that publishes, ``store`` by one that must be alone (cleaning, compacting, repairing). A name is held
once; ``store`` and any other name exclude each other. Two models of one store are two names and do not wait.

The holder writes its record again every quarter of its lifetime. A lease is over when its holder gives it back (the
record goes), when the holder's process has ended (seen from the same machine, at once), or when the record was not
written for its whole lifetime. That age is told by the storage's own clock (:meth:`Storage.age`), so machines whose
clocks differ agree. It is taken over by compare-and-swap: one of several wins.

Leases save work and keep commands from cleaning under a run; they are not what keeps a store whole. A holder that was
stopped for longer than the lifetime cannot be kept from writing: its receipts are create-only and its files the same.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from pipeline.store.owners import has_ended, is_of_this_process, owned_name
from pipeline.store.paths import LEASES, lease_file
from pipeline.store.storage import Storage
from schemas.errors import LeaseError, StoreError

#: Name of the lease of a command that must be alone.
ALONE = "store"
#: Seconds without a sign of life after which a lease is over.
LIFETIME = 60.0

_POLL_SECONDS = 2.0
_RENEWALS_PER_LIFETIME = 4
#: Leases that this process holds: a record of it that is not here was left by an earlier process with its number.
_HELD: set[str] = set()


@dataclass(frozen=True)
class LeaseRecord:
    """Who holds a lease."""

    name: str
    """Name of the lease."""
    owner: str
    """Unique name of the holder, as in :mod:`pipeline.store.owners`."""
    host: str
    """Name of its machine, for people."""
    process: int
    """Process id there."""
    started: str
    """UTC, by the holder's clock, for people."""
    lifetime: float
    """Seconds without renewal after which it is over."""
    command: str
    """What it does."""

    def to_json(self) -> bytes:
        """JSON, keys sorted."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, payload: bytes, name: str) -> LeaseRecord:
        """Read :meth:`to_json` back; what is torn or of another shape is a holder of whom nothing is known."""
        try:
            return cls(**json.loads(payload))
        except (ValueError, TypeError):
            return cls(name, "unknown", "an unknown machine", 0, "an unknown time", LIFETIME, "an unknown command")

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.process} on {self.host}, since {self.started})"


def live_leases(storage: Storage) -> list[LeaseRecord]:
    """Every lease of the storage that is not over, by name."""
    records = []
    for path in storage.list(LEASES):
        found = _read(storage, path.removeprefix(f"{LEASES}/").removesuffix(".json"))
        if found is not None and not _is_over(storage, found[1]):
            records.append(found[1])
    return records


class Lease:
    """A lease, held inside ``with``; a thread renews it."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        command: str,
        wait: float = 0.0,
        tell: Callable[[str], None] = lambda _: None,
        lifetime: float = LIFETIME,
    ) -> None:
        """``wait`` is for how many seconds another holder is waited for; ``tell`` hears of each one, once."""
        owner = owned_name("lease")
        started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self.record = LeaseRecord(name, owner, socket.gethostname(), os.getpid(), started, lifetime, command)
        self._storage, self._path, self._payload = storage, lease_file(name), self.record.to_json()
        self._wait, self._tell = wait, tell
        self._renewed = 0.0
        self._taken_by: LeaseRecord | None = None
        self._ended = threading.Event()
        self._renewing = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{name}", daemon=True)

    def __enter__(self) -> Self:
        """Take the lease; raises :class:`LeaseError` that names the holder if it is not free in time."""
        deadline = time.monotonic() + self._wait
        told = ""
        while (holder := self._try()) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LeaseError(
                    f"store {self._storage.root}: {holder} is at work here and holds the lease {holder.name!r}; let it "
                    "finish (`--wait` waits for it) or stop it. If its machine is gone, its lease is over "
                    f"{holder.lifetime:g} s after its last sign of life. Nothing was changed"
                )
            if holder.owner != told:
                told = holder.owner
                self._tell(f"waiting for {holder}, which holds the lease {holder.name!r}")
            time.sleep(min(left, _POLL_SECONDS))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back; a store that cannot be reached keeps the record until it is over by itself."""
        self._ended.set()
        self._thread.join(timeout=2)
        _HELD.discard(self.record.owner)
        with suppress(StoreError):
            self._give_back()

    def check(self) -> None:
        """Raise :class:`LeaseError` if the lease is held no longer; to be called before what others must not undo.

        After an interruption longer than the lifetime it is renewed here, if nobody has taken it.
        """
        if self._taken_by is None and time.monotonic() - self._renewed > self.record.lifetime:
            self._renew()
        if self._taken_by is not None:
            raise LeaseError(
                f"store {self._storage.root}: this command was not heard of for {self.record.lifetime:g} s, and "
                f"{self._taken_by} has taken the lease {self.record.name!r} over; what is finished is kept: let that "
                "one end, and start the same command again"
            )

    def _try(self) -> LeaseRecord | None:
        """Take the lease; the record of who is in the way, if there is one."""
        if holder := self._in_the_way():
            return holder
        _HELD.add(self.record.owner)
        holder = self._take()
        # of two that exclude each other by different names, one at least sees the other now
        if holder is None and (holder := self._in_the_way()):
            self._give_back()
        if holder is not None:
            _HELD.discard(self.record.owner)
        return holder

    def _in_the_way(self) -> LeaseRecord | None:
        name = self.record.name
        if name == ALONE:
            others = [record for record in live_leases(self._storage) if record.name != ALONE]
            return others[0] if others else None
        found = _read(self._storage, ALONE)
        return found[1] if found is not None and not _is_over(self._storage, found[1]) else None

    def _take(self) -> LeaseRecord | None:
        while True:
            asked = time.monotonic()
            if self._storage.put_new(self._path, self._payload):
                self._renewed = asked
                return None
            found = _read(self._storage, self.record.name)
            if found is None:  # given back just now
                continue
            payload, holder = found
            if not _is_over(self._storage, holder):
                return holder
            asked = time.monotonic()
            if self._storage.swap(self._path, self._payload, expected=payload):
                self._renewed = asked
                return None

    def _keep(self) -> None:
        while not self._ended.wait(self.record.lifetime / _RENEWALS_PER_LIFETIME):
            # unreachable: `check` looks at the time
            with suppress(StoreError):
                self._renew()
            if self._taken_by is not None:
                return

    def _renew(self) -> None:
        """Write the record again; a record that somebody removed is put back, unless another holder was faster."""
        with self._renewing:
            asked = time.monotonic()
            if self._storage.swap(self._path, self._payload, expected=self._payload):
                self._renewed = asked
            else:
                self._taken_by = self._take()

    def _give_back(self) -> None:
        """Remove the record if it is ours without doubt: nobody takes over one that was renewed just now."""
        if time.monotonic() - self._renewed > self.record.lifetime / 2 or self._thread.is_alive():
            return
        found = _read(self._storage, self.record.name)
        if found is not None and found[0] == self._payload:
            self._storage.delete(self._path)


def _read(storage: Storage, name: str) -> tuple[bytes, LeaseRecord] | None:
    """A lease's record, as bytes too; ``None`` if there is none."""
    path = lease_file(name)
    try:
        payload = storage.read(path)
    except StoreError:
        if storage.exists(path):
            raise
        return None
    return payload, LeaseRecord.from_json(payload, name)


def _is_over(storage: Storage, record: LeaseRecord) -> bool:
    if is_of_this_process(record.owner):
        return record.owner not in _HELD
    if has_ended(record.owner):
        return True
    path = lease_file(record.name)
    try:
        return storage.age(path) > record.lifetime
    except StoreError:
        if storage.exists(path):
            raise
        return True
