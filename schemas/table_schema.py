"""What a table of a store is: its name, its rows and its described columns."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type and one-sentence meaning."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """A table of the store: its name, what one row is, and its columns."""

    name: str
    row: str
    columns: tuple[Column, ...]

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, columns in declared order."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])


#: First columns of every table about neurons.
NEURON_KEY = (
    Column("run_id", pa.string(), "Run that wrote the row: the first 16 hex digits of its fingerprint."),
    Column("model", pa.string(), "Alias of the model in this store."),
    Column(
        "component", pa.string(), "`resid` (block output; layer 0 is the embeddings) or `mlp` (down-projection input)."
    ),
    Column("layer", pa.int32(), "Layer number; block i of the model is layer i + 1."),
    Column("neuron", pa.int32(), "Index of the neuron in its component and layer, from 0."),
)
