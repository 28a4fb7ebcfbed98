"""Where everything is inside a store: all relative paths are made here, and read back here.

Paths are relative to the store's root, with ``/`` between parts, on every file system. A part ``key=value`` is a hive
partition; :func:`partitions` reads them back, so a path says by itself which model, layer and shard it belongs to.
"""

from __future__ import annotations

import re

from schemas.errors import StoreError

STORE_FILE = "store.json"
CURRENT_FILE = "CURRENT"
STAGING = "staging"
LOCKS = "locks"
MANIFESTS = "manifest"
RECEIPTS = "receipts"
FAILURES = "failures"
SNAPSHOTS = "snapshots"
REPAIRS = "repairs"
LEASES = "leases"
DATABASE = "neuronmill.duckdb"

_PART = re.compile(r"(?!.*=(?:\.|$))[A-Za-z0-9_][A-Za-z0-9._=,+-]*")
_SHARD = re.compile(r"shard-(\d+)(?:-(\d+))?\.parquet")
_CONTENT = re.compile(r"\.[0-9a-f]{12}(?=\.[^.]+$)")
_NUMBER = re.compile(r"(\d+)")
_INTEGERS = frozenset({"layer", "block"})


def checked(path: str) -> str:
    """``path`` itself if it is a plain relative path that stays inside the root; :class:`StoreError` otherwise."""
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise StoreError(
            f"path {path!r}: a path inside the store is made of parts of letters, digits and `._=,+-` joined by `/`, "
            "and never leaves the store; give such a path"
        )
    return path


def natural_key(path: str) -> tuple[str | int, ...]:
    """Sort key that compares the numbers in a path as numbers: ``layer=3`` comes before ``layer=10``."""
    return tuple(int(piece) if piece.isdigit() else piece for piece in _NUMBER.split(path))


def shard_name(shard: int) -> str:
    """File name of a shard: ``shard-00012.parquet``."""
    return f"shard-{shard:05d}.parquet"


def corpus_file(table: str, shard: int) -> str:
    """A shard of a table that belongs to the corpus: ``documents``, ``sentences`` or ``words``."""
    return checked(f"{table}/{shard_name(shard)}")


def row_file(table: str, rows: str, shard: int) -> str:
    """A shard of ``rows`` or ``tokens`` of the row space ``rows``."""
    return checked(f"{table}/rows={rows}/{shard_name(shard)}")


def labels_file(rows: str, concepts: str, shard: int) -> str:
    """A shard of ``labels``: the concepts with fingerprint ``concepts`` over the row space ``rows``."""
    return checked(f"labels/rows={rows}/concepts={concepts}/{shard_name(shard)}")


def concepts_file(rows: str, concepts: str) -> str:
    """The ``concepts`` with this fingerprint, counted over the row space ``rows``."""
    return checked(f"concepts/rows={rows}/concepts={concepts}.parquet")


def activation_folder(model: str, component: str, layer: int, block: int) -> str:
    """Folder of the activations of one block of up to 4,096 neurons of one layer."""
    return checked(f"activations/model={model}/component={component}/layer={layer}/block={block}")


def activation_file(model: str, component: str, layer: int, block: int, shard: int) -> str:
    """Activations of one block of one layer over one shard's rows."""
    return checked(f"{activation_folder(model, component, layer, block)}/{shard_name(shard)}")


def compacted_file(model: str, component: str, layer: int, block: int, shards: range) -> str:
    """Activations of one block of one layer over the rows of consecutive shards: ``shard-00000-00015.parquet``.

    In natural order it comes before the files of its shards, and after those of the shards before.
    """
    folder = activation_folder(model, component, layer, block)
    return checked(f"{folder}/shard-{shards[0]:05d}-{shards[-1]:05d}.parquet")


def run_file(table: str, run: str, name: str = "all") -> str:
    """A part of a table that belongs to a run: ``runs``, ``shards``, ``rankings`` or ``quarantine``."""
    return checked(f"{table}/run={run}/{name}.parquet")


def state_file(run: str, name: str) -> str:
    """A persisted state of a run (fold of statistics) that is not a table."""
    return checked(f"states/run={run}/{name}")


def receipt_file(stage: str, key: str) -> str:
    """The receipt of piece ``key`` of ``stage``; ``key`` may have several parts joined by ``/``."""
    return checked(f"{RECEIPTS}/{stage}/{key}.json")


def failure_file(stage: str, key: str) -> str:
    """The record that piece ``key`` of ``stage`` failed."""
    return checked(f"{FAILURES}/{stage}/{key}.json")


def lease_file(name: str) -> str:
    """The record of the holder of lease ``name``."""
    return checked(f"{LEASES}/{name}.json")


def manifest_file(number: int) -> str:
    """Manifest ``number``: ``manifest/00000007.json``."""
    return f"{MANIFESTS}/{number:08d}.json"


def snapshot_folder(snapshot: str) -> str:
    """Folder of a published snapshot."""
    return checked(f"{SNAPSHOTS}/{snapshot}")


def content_file(path: str, sha256: str) -> str:
    """``path`` with its content in its name: ``…/shard-00012.3fb2a1c09d4e.parquet``.

    Writers of one piece that got different bytes never write to the same place, and those that got the same bytes
    write the same file.
    """
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    named = f"{stem}.{sha256[:12]}.{suffix}" if dot else f"{name}.{sha256[:12]}"
    return checked(f"{folder}/{named}" if folder else named)


def partitions(path: str) -> dict[str, str | int]:
    """Hive partitions of a path, and ``shard`` (with ``last_shard``) from the file's name; numbers as integers."""
    found: dict[str, str | int] = {}
    *folders, name = _CONTENT.sub("", path).split("/")
    for part in (*folders, name.removesuffix(".parquet")):
        key, separator, value = part.partition("=")
        if separator:
            found[key] = int(value) if key in _INTEGERS else value
    if match := _SHARD.fullmatch(name):
        found["shard"] = int(match[1])
        if match[2] is not None:
            found["last_shard"] = int(match[2])
    return found
