"""Tables of non-negative factors: the factors themselves, their neurons and their rows."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import NEURON_KEY, Column, TableSchema

_LAYER_KEY = NEURON_KEY[:4]
_FACTOR = Column("factor", pa.int32(), "Number of the factor in its layer, from 0, the largest share first.")

FACTORS = TableSchema(
    "factors",
    "one non-negative factor of one layer: max(x, 0) ≈ Σ value × weight over the factors. "
    "Key: run_id, component, layer, factor",
    (
        *_LAYER_KEY,
        _FACTOR,
        Column(
            "share",
            pa.float64(),
            "Share of Σ max(x, 0)² that this factor fits, ⟨X, w h⟩ / ‖X‖²; adds up to `explained`. Null where no value "
            "is positive.",
            nullable=True,
        ),
        Column("n_active", pa.int64(), "Rows where the factor's value is above 0."),
        Column("mean", pa.float64(), "Mean of the factor's values over all rows; null without rows.", nullable=True),
        Column("max", pa.float64(), "Largest of them.", nullable=True),
        Column("n_factors", pa.int32(), "Factors of the layer."),
        Column("n_rows", pa.int64(), "Counted rows."),
        Column(
            "relative_error",
            pa.float64(),
            "Of all factors together: ‖X − W H‖ / ‖X‖ with X = max(x, 0).",
            nullable=True,
        ),
        Column("explained", pa.float64(), "1 − relative_error², of all factors together.", nullable=True),
        Column(
            "variance_explained",
            pa.float64(),
            "1 − ‖X − W H‖² / ‖X − mean‖², of all factors together; null where X is constant.",
            nullable=True,
        ),
        Column(
            "negative_share",
            pa.float64(),
            "What was cut off: Σ max(−x, 0) / Σ |x| of the layer; null where all x are 0.",
            nullable=True,
        ),
        Column(
            "negative_square_share",
            pa.float64(),
            "The same of the squares, which the error is of: Σ max(−x, 0)² / Σ x².",
            nullable=True,
        ),
        Column("n_passes", pa.int32(), "Passes over all rows before the one that measured."),
        Column("is_converged", pa.bool_(), "The last pass took off less than 0.0001 of the first error."),
        Column("params", pa.string(), "JSON object: k, seed, passes, batch_rows, and what the dump left out, if any."),
    ),
)

FACTOR_NEURONS = TableSchema(
    "factor_neurons",
    "one neuron with a weight above 0 in one factor. Key: run_id, component, layer, factor, neuron",
    (
        *_LAYER_KEY,
        _FACTOR,
        Column("rank", pa.int32(), "Rank in the factor from 1, by weight; ties by neuron."),
        Column("neuron", pa.int32(), "Index of the neuron in its component and layer, from 0."),
        Column("weight", pa.float64(), "Weight; of all neurons of the factor, Σ weight² = 1."),
        Column(
            "neuron_share",
            pa.float64(),
            "Share of the neuron's own Σ max(x, 0)² that the factor fits; null where it is never positive.",
            nullable=True,
        ),
    ),
)

FACTOR_ROWS = TableSchema(
    "factor_rows",
    "one row on which one factor is active. Key: run_id, component, layer, factor, row_id",
    (
        *_LAYER_KEY,
        _FACTOR,
        Column(
            "rank",
            pa.int32(),
            "Rank in the factor from 1, by value; ties by row id. Null where all active rows are kept.",
            nullable=True,
        ),
        Column("row_id", pa.int64(), "The row."),
        Column("value", pa.float64(), "The factor's value, above 0, on the scale of x."),
    ),
)
