"""Tables that show neurons in words: contexts, top words, and the vocabulary that these are taken from."""

from __future__ import annotations

import pyarrow as pa

from schemas.table_schema import NEURON_KEY, Column, TableSchema

CONTEXTS = TableSchema(
    "contexts",
    "one extreme row of one neuron with its surroundings",
    (
        *NEURON_KEY,
        Column("tail", pa.string(), "`top` (largest values) or `bottom` (smallest)."),
        Column("rank", pa.int32(), "Rank in the tail from 1; ties by row id."),
        Column("row_id", pa.int64(), "The row."),
        Column("value", pa.float64(), "Its activation."),
        Column("document_id", pa.int64(), "Its document."),
        Column("sentence_id", pa.int64(), "Its sentence."),
        Column("word_id", pa.int64(), "Its word; null at sentence unit.", nullable=True),
        Column("words", pa.list_(pa.string()), "Words of the window, in order."),
        Column(
            "values",
            pa.list_(pa.float64()),
            "Per word of the window: its activation (of several tokens, the largest in magnitude); null without a row.",
        ),
        Column("focus", pa.int32(), "Index of the row's own word in `words`; null at sentence unit.", nullable=True),
    ),
)

TOP_WORDS = TableSchema(
    "top_words",
    "one word that is among the highest or lowest of one neuron on average",
    (
        *NEURON_KEY,
        Column("tail", pa.string(), "`top` (highest scores) or `bottom` (lowest)."),
        Column("rank", pa.int32(), "Rank in the tail from 1; ties by word."),
        Column("word", pa.string(), "The word type, lower-cased with `ignore_case`."),
        Column("score", pa.float64(), "(mean − neuron_mean) · n_words / (n_words + shrinkage)."),
        Column("mean", pa.float64(), "Mean activation over its occurrences; of several tokens, their mean."),
        Column(
            "standard_error",
            pa.float64(),
            "Of the mean: √(sample variance / n_words); null for one occurrence.",
            nullable=True,
        ),
        Column("n_words", pa.int64(), "Occurrences that have an activation."),
        Column("neuron_mean", pa.float64(), "Mean activation of the neuron over all words."),
        Column("shrinkage", pa.float64(), "Variance within words / variance between words, or the one configured."),
    ),
)

VOCABULARY = TableSchema(
    "vocabulary",
    "one word type",
    (
        Column("word", pa.string(), "The word type."),
        Column("n_words", pa.int64(), "Occurrences that have an activation."),
    ),
)
