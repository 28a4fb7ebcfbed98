"""The table of compositional explanations."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import NEURON_KEY, Column, TableSchema

EXPLANATIONS = TableSchema(
    "explanations",
    "one neuron with the formula over concepts whose rows are most like those where it is active. "
    "Key: run_id, component, layer, neuron, sign",
    (
        *NEURON_KEY,
        Column("sign", pa.int8(), "+1: it is active where x > threshold; −1: where x < threshold."),
        Column(
            "formula",
            pa.string(),
            "AND, OR, AND NOT of concepts; names that are not plain in double quotes. Null if no concept holds where "
            "the neuron is active, or it is active nowhere.",
            nullable=True,
        ),
        Column("length", pa.int32(), "Concepts of the formula; 0 without one."),
        Column("iou", pa.float64(), "n_both / (n_active + n_formula − n_both).", nullable=True),
        Column("score", pa.float64(), "iou − penalty · (length − 1), by which the formula was chosen.", nullable=True),
        Column(
            "heldout_iou",
            pa.float64(),
            "IoU on `test` with this formula and threshold; null without rows there, or if both masks are empty.",
            nullable=True,
        ),
        Column("threshold", pa.float64(), "On the scale of x.", nullable=True),
        Column("n_rows", pa.int64(), "Rows that were used."),
        Column("n_active", pa.int64(), "Of these, rows where the neuron is active."),
        Column("n_formula", pa.int64(), "Rows the formula holds for.", nullable=True),
        Column("n_both", pa.int64(), "Rows of both, the true positives.", nullable=True),
        Column("concepts", pa.list_(pa.string()), "Concepts of the formula, in the order in which they were added."),
        Column("operands", pa.list_(pa.string()), "The formula as an OR of ANDs, the largest share first."),
        Column(
            "operand_shares",
            pa.list_(pa.float64()),
            "Share of the true positives that each operand covers and no other operand does.",
        ),
        Column("senses", pa.list_(pa.string()), "The operands with a share of at least 0.1."),
        Column("is_polysemous", pa.bool_(), "There are two senses or more."),
        Column("unit", pa.string(), "`token`, `word` or `sentence`."),
        Column("split", pa.string(), "`train`, or `all` where there is no train split."),
        Column("params", pa.string(), "JSON object: alpha, beam, length, penalty, max_rows, the sample taken, …"),
    ),
)
