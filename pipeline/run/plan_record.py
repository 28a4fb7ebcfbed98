"""The plan: what a run will do, written down once before anything is dumped.

A plan is JSON in ``plans/<alias>.json``. It freezes everything that decides a byte of the dump (shards, token budget,
threads per worker), so a retry, another executor or another number of workers gives the same files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from typing import Any, Literal

from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.row_sample import RowSample
from pipeline.store.parquet import BLOCK_NEURONS
from schemas.components import Component
from schemas.config import Config, Dtype, Mode, Pooling, Unit, ValueDtype
from schemas.errors import SchemaVersionError

#: Bytes that say which neuron and row a value of a sparse file is of.
_BYTES_OF_PLACE = 1
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
    """What the forward pass must give: components, their layers and neurons, and how rows are pooled and stored.

    ``layers`` and ``widths``: of each component; ``neurons``: ``(first, stop)`` pieces of those not dumped whole;
    ``saes``: SHA-256 of the file of each component that is a sparse autoencoder's latents.
    """

    components: tuple[Component, ...]
    layers: dict[str, tuple[int, ...]]
    widths: dict[str, int]
    unit: Unit
    pooling: Pooling | None
    dtype: Dtype
    token_budget: int
    threads: int
    device: Literal["cpu", "cuda"]
    neurons: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    saes: dict[str, str] = field(default_factory=dict)
    packing: bool = False
    mode: Mode = "dense"
    k: int | None = None
    threshold: float | None = None
    sample: RowSample | None = None

    @property
    def value_dtype(self) -> ValueDtype:
        """Dtype of the values as they are read back: those of ``int8`` are exact in float16."""
        return "float16" if self.dtype == "int8" else self.dtype

    @property
    def forward_dtype(self) -> ValueDtype:
        """Dtype of the rows between forward pass and file: ``int8`` rounds once, from float32."""
        return "float32" if self.dtype == "int8" else self.dtype

    @property
    def rule(self) -> str | None:
        """What is kept of the model's values, where that is not all: `topk K`, `threshold X` or `int8`."""
        if self.mode == "dense":
            return "int8" if self.dtype == "int8" else None
        return f"topk {self.k}" if self.mode == "topk" else f"threshold {self.threshold!r}"

    @property
    def targets(self) -> tuple[tuple[Component, int], ...]:
        """Pairs (component, layer) to capture."""
        return tuple((component, layer) for component in self.components for layer in self.layers[component])

    @property
    def all_layers(self) -> tuple[int, ...]:
        """Layers of any component, ascending."""
        return tuple(sorted({layer for _, layer in self.targets}))

    def pieces(self, component: str) -> tuple[range, ...]:
        """The neurons of a component that are kept: ascending ranges with gaps between."""
        return tuple(range(*piece) for piece in self.neurons.get(component, ((0, self.widths[component]),)))

    def blocks(self, component: str) -> tuple[range, ...]:
        """The ranges of neurons that become one file each: at most 4,096 neurons, and no gap inside.

        Block k of the store is the k-th of them.
        """
        return tuple(
            piece[at : at + BLOCK_NEURONS]
            for piece in self.pieces(component)
            for at in range(0, len(piece), BLOCK_NEURONS)
        )

    def n_neurons(self, component: str) -> int:
        """Neurons of a component that are kept."""
        return sum(map(len, self.pieces(component)))

    @property
    def memory_per_row(self) -> int:
        """Bytes of one row over all targets in a worker's memory."""
        return sum(self.memory_per_target_row)

    @property
    def memory_per_target_row(self) -> list[int]:
        """Bytes of one row of each target in a worker's memory."""
        itemsize = 4 if self.forward_dtype == "float32" else 2
        return [itemsize * self.n_neurons(component) for component, _ in self.targets]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Capture:
        """Inverse of :func:`dataclasses.asdict` through JSON, which has no tuples."""
        return cls(
            **{
                **data,
                "components": tuple(data["components"]),
                "layers": {name: tuple(layers) for name, layers in data["layers"].items()},
                "sample": RowSample(**data["sample"]) if data["sample"] else None,
                "neurons": {name: tuple((a, b) for a, b in pieces) for name, pieces in data["neurons"].items()},
            }
        )

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row over all targets in files, before compression; with a threshold, at most."""
        widths = [self.n_neurons(component) for component, _ in self.targets]
        value = {"int8": 1, "float32": 4}.get(self.dtype, 2)
        if self.mode == "topk":
            return (value + _BYTES_OF_PLACE) * sum(min(self.k or 0, width) for width in widths)
        return value * sum(widths)


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
    sae_paths: dict[str, str]
    """Where the files of sparse autoencoders were at planning, absolute."""
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
        expected = {item.name for item in fields(cls)}
        if set(data) != expected:
            raise SchemaVersionError(
                f"plan {data.get('run_id', '?')}: it has the fields {', '.join(sorted(data))}, this neuronmill writes "
                f"{', '.join(sorted(expected))}; use the version that made it, or plan into a new store"
            )
        return cls(
            **{
                **data,
                "capture": Capture.from_json(data["capture"]),
                "model_info": ModelInfo.from_json(data["model_info"]),
                "shards": tuple(ShardPlan(**shard) for shard in data["shards"]),
                "config": Config.model_validate(data["config"]),
            }
        )
