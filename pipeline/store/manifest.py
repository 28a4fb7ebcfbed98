"""The manifest: which files the tables of a store consist of.

Manifests are numbered, complete and immutable (``manifest/00000007.json``); the one with the highest number counts.
Readers take file lists from it and never from a glob, so a file without an entry is not seen. Entries are grouped by
table and *scope* (what a later command replaces as a whole: the corpus, a row space, a run). A writer creates the next
number with a create-only put and starts over when another writer was faster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from pipeline.store.paths import MANIFESTS, manifest_file, natural_key
from pipeline.store.receipts import FileEntry
from pipeline.store.storage import Storage
from schemas.errors import StoreError, TornRecordError

Scopes = Mapping[str, tuple[FileEntry, ...]]
Changes = Mapping[tuple[str, str], Iterable[FileEntry]]

#: Entries of one (table, scope) by the values of some of their fields.
_Index = dict[tuple[Any, ...], list[FileEntry]]

_MAX_CONFLICTS = 100


@dataclass(frozen=True)
class Manifest:
    """All files of all tables at one moment; ``tables[table][scope]`` in natural order of paths. Never changes."""

    number: int = 0
    tables: Mapping[str, Scopes] = field(default_factory=dict)

    def files(self, table: str, scope: str | None = None, **partitions: str | int) -> list[FileEntry]:
        """Entries of ``table`` (of one scope) whose fields equal ``partitions``, in scope order, then path order.

        The first call with a combination of table, scope and names of partitions indexes their entries; every later
        one takes time for its result only, whatever the number of files. Raises :class:`AttributeError` for a
        partition that is no field of :class:`FileEntry`.
        """
        names = tuple(sorted(partitions))
        index = self._indexes.get((table, scope, names))
        if index is None:
            index = self._indexes[table, scope, names] = self._index(table, scope, names)
        return list(index.get(tuple(partitions[name] for name in names), ()))

    @cached_property
    def _indexes(self) -> dict[tuple[str, str | None, tuple[str, ...]], _Index]:
        return {}

    def _index(self, table: str, scope: str | None, names: tuple[str, ...]) -> _Index:
        scopes = self.tables.get(table, {})
        chosen = scopes.values() if scope is None else [scopes.get(scope, ())]
        fields = [attrgetter(name) for name in names]
        index: _Index = {}
        for entries in chosen:
            for entry in entries:
                index.setdefault(tuple(value(entry) for value in fields), []).append(entry)
        return index

    def entries(self) -> Iterator[FileEntry]:
        """Every file of every table."""
        return (entry for scopes in self.tables.values() for entries in scopes.values() for entry in entries)

    def scopes(self, table: str) -> list[str]:
        """Scopes of a table that have files, sorted."""
        return [scope for scope, entries in self.tables.get(table, {}).items() if entries]

    def replaced(self, changes: Changes) -> Manifest:
        """The next manifest: the entries of each given (table, scope) replaced, everything else as it is."""
        tables = {table: dict(scopes) for table, scopes in self.tables.items()}
        for (table, scope), entries in changes.items():
            ordered = tuple(sorted(entries, key=lambda entry: natural_key(entry.path)))
            tables.setdefault(table, {})[scope] = ordered
        ordered_tables = {
            table: {scope: tables[table][scope] for scope in sorted(tables[table]) if tables[table][scope]}
            for table in sorted(tables)
        }
        following = Manifest(self.number + 1, {t: scopes for t, scopes in ordered_tables.items() if scopes})
        following.check_unique()
        return following

    def check_unique(self) -> None:
        """Raise :class:`StoreError` if a table lists a file twice: every one of its rows would count twice."""
        for table, scopes in self.tables.items():
            seen: dict[str, str] = {}
            for scope, entries in scopes.items():
                for entry in entries:
                    if entry.path in seen:
                        raise StoreError(
                            f"table {table}: {entry.path} is listed in scope {scope!r} and in {seen[entry.path]!r}; "
                            "list a file once"
                        )
                    seen[entry.path] = scope

    def to_content(self) -> dict[str, Any]:
        """The tables as plain JSON values."""
        return {
            table: {scope: [entry.to_dict() for entry in entries] for scope, entries in scopes.items()}
            for table, scopes in self.tables.items()
        }

    def to_json(self) -> bytes:
        """JSON, one line per file."""
        tables = []
        for table, scopes in self.to_content().items():
            parts = (
                f"  {json.dumps(scope)}: [\n" + ",\n".join(f"   {json.dumps(e)}" for e in entries) + "\n  ]"
                for scope, entries in scopes.items()
            )
            tables.append(f" {json.dumps(table)}: {{\n" + ",\n".join(parts) + "\n }")
        return (f'{{"number": {self.number}, "tables": {{\n' + ",\n".join(tables) + "\n}}\n").encode()

    @classmethod
    def from_json(cls, payload: bytes, path: str) -> Manifest:
        """Read :meth:`to_json` back; :class:`TornRecordError` names ``path`` if it is torn or of another shape."""
        try:
            content = json.loads(payload)
            tables = {
                table: {scope: tuple(FileEntry(**entry) for entry in entries) for scope, entries in scopes.items()}
                for table, scopes in content["tables"].items()
            }
            return cls(int(content["number"]), tables)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            way_out = "delete it to go back to the one before it"
            raise TornRecordError(f"manifest {path}", f"cannot be read ({error})", way_out) from error


class ManifestLog:
    """The numbered manifests of one storage; the latest one is parsed once."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._latest = Manifest()

    def latest(self) -> Manifest:
        """The manifest with the highest number; the empty one if there is none yet."""
        numbers = (path.removeprefix(f"{MANIFESTS}/").removesuffix(".json") for path in self._storage.list(MANIFESTS))
        number = max((int(name) for name in numbers if name.isdigit()), default=0)
        if number != self._latest.number:
            self._latest = self.numbered(number)
        return self._latest

    def numbered(self, number: int) -> Manifest:
        """Manifest ``number``; 0 is the empty one that every store begins with."""
        if number == 0:
            return Manifest()
        path = manifest_file(number)
        return Manifest.from_json(self._storage.read(path), path)

    def advance(self, changes: Changes) -> Manifest:
        """Replace the entries of each given (table, scope) in a new manifest; nothing is written if nothing changes."""
        fixed = {key: tuple(entries) for key, entries in changes.items()}
        for _ in range(_MAX_CONFLICTS):
            before = self.latest()
            after = before.replaced(fixed)
            if after.tables == before.tables:
                return before
            if self._storage.put_new(manifest_file(after.number), after.to_json()):
                self._latest = after
                return after
        raise StoreError(
            f"store {self._storage.root}: {_MAX_CONFLICTS} attempts to advance the manifest lost to other writers; "
            "run again when fewer commands work on this store"
        )
