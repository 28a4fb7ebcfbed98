"""Verification: the files still hold what receipts, manifests and snapshots say.

Every file that a receipt, the latest manifest or a snapshot lists is read once: it is there, its size and SHA-256 are
as recorded, its rows too, documents, sentences, words, rows and activations are numbered without gaps from shard to
shard, no two row spaces share row ids, tokens and labels point to rows that are there, and every stored activation is
finite. Files are read by several threads (hashing and Parquet leave Python's lock alone), each with a chunk of neurons
in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.store import paths
from pipeline.store.problems import Problem
from pipeline.store.receipts import FileEntry
from pipeline.store.store import Store
from pipeline.store.verify_file import FileFacts, check_file
from pipeline.store.verify_ids import check_ids
from pipeline.store.verify_snapshots import check_snapshots
from pipeline.store.vouchers import Torn, Vouchers, read_vouchers

#: Called after each file: files checked so far, their total, bytes checked so far.
Watch = Callable[[int, int, int], None]

_LOCAL_READERS = min(8, os.cpu_count() or 1)
#: A remote store answers late, and each of these fetches one file into the machine's temporary folder.
_REMOTE_READERS = 8


def verify(store: Store, progress: Watch | None = None) -> list[Problem]:
    """All problems of a store, ordered by path; an empty list means that everything is as recorded."""
    vouchers = read_vouchers(store.storage)
    problems = [_torn(torn) for torn in vouchers.torn]
    versions = _versions(vouchers)
    listed = [entry for path in sorted(versions, key=paths.natural_key) for entry in versions[path]]
    found: dict[str, list[FileFacts]] = {}
    for facts in _check_files(store, listed, progress):
        found.setdefault(facts.entry.path, []).append(facts)
    for path, readings in found.items():
        problems.extend(_settle(path, readings, versions[path]))
    problems.extend(check_ids(_best(readings) for readings in found.values()))
    problems.extend(check_snapshots(store.storage, vouchers))
    receipts = _receipts(vouchers)
    named = (replace(item, receipts=item.receipts or tuple(receipts.get(item.path, ()))) for item in problems)
    return sorted(named, key=lambda problem: (paths.natural_key(problem.path), problem.rule))


def _torn(torn: Torn) -> Problem:
    folder = torn.path.partition("/")[0]
    if folder == paths.RECEIPTS:
        return Problem(torn.path, "receipt", torn.why, (torn.path,))
    return Problem(torn.path, "manifest" if folder == paths.MANIFESTS else "snapshot", torn.why)


def _versions(vouchers: Vouchers) -> dict[str, dict[FileEntry, list[str]]]:
    """Per path the entries that are recorded for it (one, if all is well), each with the records that say so.

    What receipts say comes first.
    """
    versions: dict[str, dict[FileEntry, list[str]]] = {}
    for source, entry in vouchers.entries():
        versions.setdefault(entry.path, {}).setdefault(entry, []).append(source)
    return versions


def _receipts(vouchers: Vouchers) -> dict[str, list[str]]:
    receipts: dict[str, list[str]] = {}
    for source, receipt in vouchers.receipts.items():
        for entry in receipt.files:
            receipts.setdefault(entry.path, []).append(source)
    return receipts


def _check_files(store: Store, entries: Sequence[FileEntry], progress: Watch | None) -> Iterator[FileFacts]:
    n_bytes = 0
    with ThreadPoolExecutor(_LOCAL_READERS if store.storage.is_local else _REMOTE_READERS) as pool:
        checked = pool.map(lambda entry: check_file(store.storage, entry), entries)
        for n_done, facts in enumerate(checked, start=1):
            n_bytes += facts.entry.n_bytes
            if progress is not None:
                progress(n_done, len(entries), n_bytes)
            yield facts


def _if_receipt(source: str) -> tuple[str, ...]:
    return (source,) if source.startswith(f"{paths.RECEIPTS}/") else ()


def _best(found: Sequence[FileFacts]) -> FileFacts:
    return min(found, key=lambda facts: bool(facts.problems))


def _settle(path: str, found: Sequence[FileFacts], sources: dict[FileEntry, list[str]]) -> Iterable[Problem]:
    """The problems of one file.

    Where records contradict each other and the file is as one of them says, the others are wrong; where it is as none
    of them says, the file is.
    """
    if len(found) == 1:
        return found[0].problems
    is_right = any(not facts.problems for facts in found)
    wrong = [source for facts in found if facts.problems for source in sources[facts.entry]]
    if is_right and wrong:
        what = f"records another {path} than is there and others record"
        return [Problem(source, "conflict", what, _if_receipt(source)) for source in wrong]
    named = ", ".join(source for records in sources.values() for source in records)
    return [Problem(path, "conflict", f"is recorded in several ways by {named}"), *found[0].problems]
