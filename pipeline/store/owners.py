"""Whose a staged thing is: its name tells which process of which machine made it, also on a disk shared by many.

A name ends with ``-<machine>-<process>-<token>``. *Machine* stands for one numbering of processes: the host's name, its
boot and the process namespace, because containers share a host name or a process id and are different all the same.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from functools import cache
from pathlib import Path

import psutil

#: What other machines left, and what was left before a reboot, counts as abandoned when untouched for this long.
ABANDONED_SECONDS = 86_400


def owned_prefix(kind: str) -> str:
    """The part of such a name that says whose it is, with the dash before the token."""
    return f"{kind}-{_machine()}-{os.getpid()}-"


def owned_name(kind: str) -> str:
    """A new name for something this process stages: ``<kind>-<machine>-<process>-<token>``."""
    return f"{owned_prefix(kind)}{secrets.token_hex(6)}"


def is_abandoned(entry: Path) -> bool:
    """Whether nobody will finish ``entry``.

    Of this machine: its process has ended. Of another one, whose processes cannot be seen from here: nothing in it was
    touched for a day, and no piece of work stages files for that long without writing.
    """
    ended = has_ended(entry.name)
    return time.time() - _last_touched(entry) > ABANDONED_SECONDS if ended is None else ended


def has_ended(name: str) -> bool | None:
    """Whether the process that made ``name`` has ended; ``None`` if it is of another machine, or no such name."""
    owner = _owner(name)
    return None if owner is None else not _is_running(owner)


def is_of_this_process(name: str) -> bool:
    """Whether ``name`` was made by this process, or by an earlier one of this machine with the same number."""
    return _owner(name) == os.getpid()


def _owner(name: str) -> int | None:
    """The process behind a name of this machine."""
    parts = name.rsplit("-", 3)
    return int(parts[2]) if len(parts) == 4 and parts[1] == _machine() and parts[2].isdigit() else None


def _is_running(process: int) -> bool:
    if not psutil.pid_exists(process):
        return False
    try:
        # a zombie was killed, and its parent has not asked yet
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:  # ended just now, or of another user and hidden: the next sweep knows
        return True


def _last_touched(entry: Path) -> float:
    """Latest time of modification in ``entry``; now, if it goes away meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (entry, *entry.rglob("*")))
    except OSError:
        return time.time()


@cache
def _machine() -> str:
    facts = [socket.gethostname()]
    # both are of Linux; elsewhere there are no containers that share a host's name
    boot = Path("/proc/sys/kernel/random/boot_id")
    facts.append(boot.read_text(encoding="ascii") if boot.is_file() else "")
    namespace = Path("/proc/self/ns/pid")
    facts.append(str(namespace.readlink()) if namespace.is_symlink() else "")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
