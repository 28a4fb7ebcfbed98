"""Receipts: the record that one piece of work is done, and which files it left.

A receipt is JSON at ``receipts/<stage>/<key>.json``, created once and never changed: its creation *is* the commit. What
has no receipt is not done, whatever files lie about.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.store.paths import partitions
from schemas.errors import TornRecordError


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the store, as receipts and manifests list it. Fields that do not apply to a file are ``None``."""

    path: str
    """Relative path."""
    n_rows: int
    """Rows of a Parquet file (of a sparse activation file: those it is about, not its values); 0 for others."""
    n_bytes: int
    """Size."""
    sha256: str
    """SHA-256 of the content, hex."""
    model: str | None = None
    """Model alias (activations)."""
    component: str | None = None
    """`resid`, `mlp`, … ."""
    layer: int | None = None
    """Layer."""
    block: int | None = None
    """Block of neurons (activations)."""
    shard: int | None = None
    """Shard of the corpus; the first one, of a compacted file."""
    first_neuron: int | None = None
    """First neuron of the file (activations)."""
    n_neurons: int | None = None
    """Neurons of the file (activations)."""
    rows: str | None = None
    """Row space (rows, tokens, labels, concepts)."""
    concepts: str | None = None
    """Fingerprint of the concepts (labels, concepts)."""
    run: str | None = None
    """Run."""
    last_shard: int | None = None
    """Last shard of a compacted file, which covers all from ``shard`` on (activations)."""
    rule: str | None = None
    """What was kept of the model's values, where not all was: `topk K`, `threshold X` or `int8` (activations)."""
    loss: float | None = None
    """With a rule: share of the sum of squares of the file's values that was not kept."""
    n_values: int | None = None
    """Values of a sparse activation file; all others of its rows and neurons are 0."""
    n_clipped: int | None = None
    """`int8`: values beyond the largest code."""

    @classmethod
    def of(cls, path: str, **facts: Any) -> FileEntry:
        """An entry with the partitions filled in from its path."""
        known = {name: value for name, value in partitions(path).items() if name in _FIELDS}
        return cls(path=path, **{**known, **facts})

    def to_dict(self) -> dict[str, Any]:
        """Fields that are set, for JSON."""
        return {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}

    @property
    def shards(self) -> range:
        """Shards whose rows the file has; empty for a file that belongs to none."""
        if self.shard is None:
            return range(0)
        return range(self.shard, (self.shard if self.last_shard is None else self.last_shard) + 1)

    @property
    def is_sparse(self) -> bool:
        """Whether it is a sparse activation file."""
        return self.n_values is not None

    @property
    def neurons(self) -> range:
        """Neurons of an activation file; empty for other files."""
        first = self.first_neuron or 0
        return range(first, first + (self.n_neurons or 0))


_FIELDS = tuple(f.name for f in fields(FileEntry))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record that piece ``key`` of ``stage`` is done."""

    stage: str
    key: str
    files: tuple[FileEntry, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """Anything JSON about the work: attempt, seconds, counts. Not covered by any promise of equal bytes."""

    def to_json(self) -> bytes:
        """JSON, keys sorted."""
        content = asdict(self) | {"files": [entry.to_dict() for entry in self.files]}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, payload: bytes, path: str) -> Receipt:
        """Read :meth:`to_json` back; :class:`TornRecordError` names ``path`` if it is torn or of another shape."""
        try:
            content = json.loads(payload)
            files = tuple(FileEntry(**entry) for entry in content["files"])
            return cls(content["stage"], content["key"], files, content["facts"])
        except (ValueError, KeyError, TypeError) as error:
            way_out = "delete it and run again: its piece of work is then redone"
            raise TornRecordError(f"receipt {path}", f"cannot be read ({error})", way_out) from error
