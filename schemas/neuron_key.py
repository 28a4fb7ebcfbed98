"""The columns that say which neuron of which run a row is about."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import Column

NEURON_KEY = (
    Column("run_id", pa.string(), "Run that wrote the row: the first 16 hex digits of its fingerprint."),
    Column("model", pa.string(), "Alias of the model in this store."),
    Column(
        "component", pa.string(), "`resid` (block output; layer 0 is the embeddings) or `mlp` (down-projection input)."
    ),
    Column("layer", pa.int32(), "Layer number; block i of the model is layer i + 1."),
    Column("neuron", pa.int32(), "Index of the neuron in its component and layer, from 0."),
)
