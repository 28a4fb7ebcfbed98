"""The plan: what a run will do, written down once before anything is dumped.

A plan is JSON in ``plans/<alias>.json``. It freezes everything that decides a byte of the dump (shards, token budget,
threads per worker), so a retry, another executor or another number of workers gives the same files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from typing import Any, Literal

from pipeline.extract.model_facts import ModelInfo
from schemas.config import Component, Config, Dtype, Pooling, Unit
from schemas.errors import SchemaVersionError

#: Architecture of a model whose activations were imported.
IMPORTED = "imported"


def library_versions() -> dict[str, str]:
    """Versions of torch and transformers here."""
    return {name: version(name) for name in ("torch", "transformers")}


@dataclass(frozen=True)
class ShardPlan:
    """A range of the corpus: whole sentences, and the rows a row space gives them."""

    shard: int
    first_sentence: int
    n_sentences: int
    n_words: int
    first_row: int
    n_rows: int
    n_tokens: int
    n_words_without_token: int
    n_split_sentences: int
    n_truncated_sentences: int

    @property
    def key(self) -> str:
        """Name in receipts and file names."""
        return f"shard-{self.shard:05d}"


@dataclass(frozen=True)
class Capture:
    """What the forward pass must give: components, layers, and how rows are pooled and stored."""

    components: tuple[Component, ...]
    layers: tuple[int, ...]
    widths: dict[str, int]
    unit: Unit
    pooling: Pooling | None
    dtype: Dtype
    token_budget: int
    threads: int
    device: Literal["cpu", "cuda"]
    imported: tuple[tuple[Component, int], ...] | None = None
    """The targets of an imported model, which need not be all layers of all components."""

    @property
    def targets(self) -> tuple[tuple[Component, int], ...]:
        """Pairs (component, layer) to capture. ``mlp`` has no layer 0."""
        if self.imported is not None:
            return self.imported
        return tuple((c, layer) for c in self.components for layer in self.layers if c == "resid" or layer > 0)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row over all targets, before compression."""
        return sum(self.bytes_per_target_row)

    @property
    def bytes_per_target_row(self) -> list[int]:
        """Bytes of one row of each target, before compression."""
        itemsize = 4 if self.dtype == "float32" else 2
        return [itemsize * self.widths[component] for component, _ in self.targets]


@dataclass(frozen=True)
class Plan:
    """A run, planned."""

    run_id: str
    fingerprint: str
    model: str
    row_space: str
    corpus: str
    capture: Capture
    shards: tuple[ShardPlan, ...]
    model_info: ModelInfo
    libraries: dict[str, str]
    """Versions of the libraries that decide the bits of a forward pass, at planning."""
    config: Config

    @property
    def is_imported(self) -> bool:
        """Whether the activations were imported; there is no model then to dump."""
        return self.model_info.architecture == IMPORTED

    @property
    def n_rows(self) -> int:
        """Rows over all shards."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes of the dump, before compression."""
        return self.n_rows * self.capture.bytes_per_row

    def with_config(self, config: Config) -> Plan:
        """The same plan with other settings for what does not touch the dump."""
        return replace(self, config=config)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"config": self.config.model_dump(mode="json")}))
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """Inverse of :meth:`to_json`; raises :class:`SchemaVersionError` for a plan of another version."""
        expected = {field.name for field in fields(cls)}
        if set(data) != expected:
            raise SchemaVersionError(
                f"plan {data.get('run_id', '?')}: it has the fields {', '.join(sorted(data))}, this neuronmill writes "
                f"{', '.join(sorted(expected))}; use the version that made it, or plan into a new store"
            )
        capture = dict(data["capture"])
        capture["components"] = tuple(capture["components"])
        capture["layers"] = tuple(capture["layers"])
        if capture["imported"] is not None:
            capture["imported"] = tuple((component, layer) for component, layer in capture["imported"])
        return cls(
            **{
                **data,
                "capture": Capture(**capture),
                "model_info": ModelInfo(**data["model_info"]),
                "shards": tuple(ShardPlan(**shard) for shard in data["shards"]),
                "config": Config.model_validate(data["config"]),
            }
        )
