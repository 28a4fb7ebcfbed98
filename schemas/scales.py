"""The scales of a dump in ``int8``: a record of the store by which its values were made, and no table of its own."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import Column, TableSchema

SCALES = TableSchema(
    "scales",
    "one neuron of a dump in `int8`",
    (
        Column("component", pa.string(), "Component."),
        Column("layer", pa.int32(), "Layer."),
        Column("neuron", pa.int32(), "Neuron."),
        Column("largest", pa.float32(), "Largest |x| in the pilot sample."),
        Column("scale", pa.float32(), "Step between two stored values."),
    ),
)
