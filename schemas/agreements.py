"""The file that `neuronmill agree --output` writes: no table of a store, for it may be of several runs and stores."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import Column, TableSchema


def _of_ranking(prefix: str, which: str, *, nullable: bool) -> tuple[Column, ...]:
    return (
        Column(f"{prefix}ranking", pa.string(), f"{which}: its name in this comparison.", nullable=nullable),
        Column(f"{prefix}run_id", pa.string(), f"{which}: its run.", nullable=nullable),
        Column(f"{prefix}model", pa.string(), f"{which}: its model.", nullable=nullable),
        Column(f"{prefix}method", pa.string(), f"{which}: its method.", nullable=nullable),
        Column(f"{prefix}params", pa.string(), f"{which}: its parameters, JSON.", nullable=nullable),
    )


AGREEMENTS = TableSchema(
    "agreements",
    "one measure of one pair of rankings, or of one ranking, for one concept or as the mean over concepts",
    (
        Column("concept", pa.string(), "Concept; null for the mean over concepts.", nullable=True),
        Column("measure", pa.string(), "`jaccard`, `overlap`, `spearman`, `avg_overlap` or `neuron_vote`."),
        *_of_ranking("", "The ranking", nullable=False),
        *_of_ranking("other_", "The other ranking; null for measures of one", nullable=True),
        Column("k", pa.int32(), "Length of the top lists."),
        Column("value", pa.float64(), "The measure; null where undefined.", nullable=True),
        Column(
            "n",
            pa.int64(),
            "What it is over: concepts of a mean, neurons in common of `spearman`, else neurons of the longer list.",
        ),
    ),
)
