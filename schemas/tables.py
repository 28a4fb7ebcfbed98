"""The tables of a store: one Arrow schema each, every column described.

``TABLES[name]`` is a :class:`TableSchema`. The reference page ``docs/reference/tables.md`` is generated from here.
Letters: T rows, N neurons, C concepts. All ids are int64, dense and deterministic for a corpus; ``row_id`` is unique
in a store.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.correlation_tables import CORRELATION_TABLES
from schemas.explanation_table import EXPLANATIONS
from schemas.factor_tables import FACTOR_NEURONS, FACTOR_ROWS, FACTORS
from schemas.ranking_tables import LAYER_BESTS, NULL_CHECKS, RANKINGS
from schemas.table_schema import NEURON_KEY, Column, TableSchema
from schemas.word_tables import CONTEXTS, TOP_WORDS

#: Version of everything in this file and of the store's layout. A store of another version is refused.
SCHEMA_VERSION = 1

_LABEL = pa.dictionary(pa.int32(), pa.string())
_LABEL_MAP = pa.map_(pa.string(), pa.string())

DOCUMENTS = TableSchema(
    "documents",
    "one document",
    (
        Column("document_id", pa.int64(), "Position of the document in the corpus, from 0."),
        Column("document", pa.string(), "Name of the document as the corpus gives it, else `source#n`."),
        Column("source", pa.string(), "File the document was read from, as the config names it."),
        Column(
            "split",
            pa.string(),
            "`train`, `dev`, `test`; null without splits, or if its sentences differ.",
            nullable=True,
        ),
        Column("labels", _LABEL_MAP, "Document labels, name to value."),
        Column("n_sentences", pa.int32(), "Number of sentences."),
        Column("n_words", pa.int32(), "Number of words."),
    ),
)

SENTENCES = TableSchema(
    "sentences",
    "one sentence",
    (
        Column("sentence_id", pa.int64(), "Position of the sentence in the corpus, from 0."),
        Column("document_id", pa.int64(), "Document it belongs to."),
        Column(
            "sentence", pa.string(), "Name of the sentence as the corpus gives it, else its number in the document."
        ),
        Column("text", pa.string(), "Raw text; character spans of words and tokens refer to it."),
        Column("split", pa.string(), "`train`, `dev`, `test` or null.", nullable=True),
        Column("labels", _LABEL_MAP, "Sentence labels, name to value."),
        Column("n_words", pa.int32(), "Number of words."),
    ),
)

WORDS = TableSchema(
    "words",
    "one word; one further string column per label layer of the corpus (`upos`, `xpos`, `feat_Number`, `entity`, …)",
    (
        Column("word_id", pa.int64(), "Position of the word in the corpus, from 0."),
        Column("sentence_id", pa.int64(), "Sentence it belongs to."),
        Column("document_id", pa.int64(), "Document it belongs to."),
        Column("position", pa.int32(), "Position in the sentence, from 0."),
        Column("word", pa.string(), "The word's form."),
        Column("start", pa.int32(), "First character in the sentence's text."),
        Column("end", pa.int32(), "Character after the last one."),
        Column("split", pa.string(), "`train`, `dev`, `test` or null.", nullable=True),
    ),
)

TOKENS = TableSchema(
    "tokens",
    "one token of one model's tokenisation, in the order the model saw them",
    (
        Column(
            "row_id",
            pa.int64(),
            "Row the token's activation is in; null for tokens that pooling or sampling leaves out.",
            nullable=True,
        ),
        Column("document_id", pa.int64(), "Document it belongs to."),
        Column("sentence_id", pa.int64(), "Sentence it belongs to."),
        Column("word_id", pa.int64(), "Word it shares most characters with; null for none.", nullable=True),
        Column(
            "window", pa.int32(), "Window of the sentence: 0 unless the sentence was longer than the model's limit."
        ),
        Column("position", pa.int32(), "Position in the window, special tokens included."),
        Column("token_id", pa.int32(), "Index in the model's vocabulary."),
        Column("token", pa.string(), "The vocabulary entry."),
        Column(
            "start",
            pa.int32(),
            "First character in the sentence's text, white space trimmed; null for specials.",
            nullable=True,
        ),
        Column("end", pa.int32(), "Character after the last one; null for specials.", nullable=True),
        Column("is_special", pa.bool_(), "The token was added by the tokenizer (CLS, SEP, BOS, …)."),
    ),
)

ROWS = TableSchema(
    "rows",
    "one row of the activation tables, same rows in the same order; a token, word or sentence according to the unit",
    (
        Column("row_id", pa.int64(), "Unique in the store, dense."),
        Column("document_id", pa.int64(), "Document it belongs to."),
        Column("sentence_id", pa.int64(), "Sentence it belongs to."),
        Column(
            "word_id",
            pa.int64(),
            "Word it belongs to; null for special tokens, word-less tokens and sentences.",
            nullable=True,
        ),
        Column("split", pa.string(), "`train`, `dev`, `test` or null.", nullable=True),
        Column("is_special", pa.bool_(), "The row is a special token."),
        Column(
            "is_counted", pa.bool_(), "The row enters statistics, labels and searches (neither special nor word-less)."
        ),
    ),
)

CONCEPTS = TableSchema(
    "concepts",
    "one concept",
    (
        Column("concept", pa.string(), "Name, e.g. `upos=NUM`."),
        Column("kind", pa.string(), "`layer`, `regex`, `words`, `sql`, `sentence` or `document`."),
        Column(
            "layer", pa.string(), "Label layer or label name, where the concept is one of its values.", nullable=True
        ),
        Column("value", pa.string(), "That value.", nullable=True),
        Column(
            "definition", pa.string(), "What was compiled: `layer=value`, the pattern, the word list or the predicate."
        ),
        Column("label_on", pa.string(), "Which tokens of a word carry it: `all`, `first` or `last`."),
        Column("n_words", pa.int64(), "Words it holds for."),
        Column("n_rows", pa.int64(), "Counted rows it holds for."),
    ),
)

LABELS = TableSchema(
    "labels",
    "one concept holding for one counted row",
    (
        Column("row_id", pa.int64(), "The row."),
        Column("concept", _LABEL, "The concept."),
    ),
)

NEURON_STATS = TableSchema(
    "neuron_stats",
    "one neuron over the counted rows of all splits",
    (
        *NEURON_KEY,
        Column("unit", pa.string(), "`token`, `word` or `sentence`."),
        Column("n_rows", pa.int64(), "Counted rows."),
        Column("mean", pa.float64(), "Mean.", nullable=True),
        Column("variance", pa.float64(), "Population variance.", nullable=True),
        Column("skewness", pa.float64(), "Population skewness; null where the variance is 0.", nullable=True),
        Column("kurtosis", pa.float64(), "Population excess kurtosis; null where the variance is 0.", nullable=True),
        Column("min", pa.float64(), "Smallest value.", nullable=True),
        Column("max", pa.float64(), "Largest value.", nullable=True),
        *(
            Column(f"q{name}", pa.float64(), f"Exact quantile at {level} (numpy's linear definition).", nullable=True)
            for name, level in (
                ("001", 0.001),
                ("005", 0.005),
                ("01", 0.01),
                ("05", 0.05),
                ("25", 0.25),
                ("50", 0.5),
                ("75", 0.75),
                ("95", 0.95),
                ("99", 0.99),
                ("995", 0.995),
                ("999", 0.999),
            )
        ),
        Column("activity_rate", pa.float64(), "Share of rows with a value above 0.", nullable=True),
        Column(
            "saturation", pa.float64(), "Share of rows at the more frequent of the two extreme values.", nullable=True
        ),
        Column("is_dead", pa.bool_(), "All values are equal, or max |x| ≤ `eps`."),
        Column("is_saturated", pa.bool_(), "`saturation` ≥ 0.5 and the neuron is not dead."),
        Column("eps", pa.float64(), "The eps of `is_dead`."),
    ),
)

RUNS = TableSchema(
    "runs",
    "one run: one configuration's fingerprint over one corpus and model",
    (
        Column("run_id", pa.string(), "First 16 hex digits of the fingerprint."),
        Column("model", pa.string(), "Alias of the model in this store."),
        Column("model_name", pa.string(), "Directory or hub id as the config names it."),
        Column("architecture", pa.string(), "`model_type` of the model's config."),
        Column("revision", pa.string(), "Revision, where there is one.", nullable=True),
        Column("weights_sha256", pa.string(), "SHA-256 over the weight files."),
        Column("unit", pa.string(), "`token`, `word` or `sentence`."),
        Column("pooling", pa.string(), "Pooling to words or sentences; null at token unit.", nullable=True),
        Column("dtype", pa.string(), "Stored dtype: `float16`, `bfloat16`, `float32` or `int8`."),
        Column(
            "rule",
            pa.string(),
            "What was kept of the model's values: `topk K`, `threshold X` or `int8`; null for all.",
            nullable=True,
        ),
        Column("sample", pa.string(), "Which rows were dumped: share, by what, seed; null for all.", nullable=True),
        Column("components", pa.list_(pa.string()), "Components dumped."),
        Column("layers", pa.list_(pa.int32()), "Layers dumped."),
        Column("n_rows", pa.int64(), "Rows dumped."),
        Column("n_shards", pa.int32(), "Shards dumped."),
        Column("n_bytes", pa.int64(), "Bytes of activation files."),
        Column(
            "compute",
            pa.string(),
            "How the forward pass ran, JSON: `dtype` (of weights and activations throughout: `autocast` is false), "
            "`attention`, `device`, `threads`, `token_budget`, `packing`.",
        ),
        Column("config", pa.string(), "The whole config, JSON."),
        Column("versions", pa.string(), "Versions of neuronmill, torch, transformers, pyarrow and Python, JSON."),
    ),
)

SHARDS = TableSchema(
    "shards",
    "one finished shard of one run",
    (
        Column("run_id", pa.string(), "Run."),
        Column("model", pa.string(), "Alias of the model."),
        Column("shard", pa.int32(), "Number of the shard."),
        Column("first_row", pa.int64(), "First `row_id`."),
        Column("n_rows", pa.int64(), "Number of rows."),
        Column("n_sentences", pa.int64(), "Number of sentences."),
        Column("n_tokens", pa.int64(), "Number of tokens, special ones included."),
        Column("n_words_without_token", pa.int64(), "Words no token belongs to."),
        Column("n_split_sentences", pa.int64(), "Sentences cut into windows."),
        Column("n_truncated_sentences", pa.int64(), "Sentences truncated."),
        Column("n_bytes", pa.int64(), "Bytes of its activation files."),
        Column("n_files", pa.int32(), "Number of its activation files."),
        Column("n_values", pa.int64(), "Values stored, of sparse dumps; null for others.", nullable=True),
        Column("n_clipped", pa.int64(), "Values beyond the range of their neuron, of `int8` dumps.", nullable=True),
        Column("attempt", pa.int32(), "Attempt that succeeded, from 1."),
        Column("seconds", pa.float64(), "Wall time of that attempt."),
        Column("token_budget", pa.int32(), "Padded tokens per batch it ran with."),
    ),
)

QUARANTINE = TableSchema(
    "quarantine",
    "one sentence that could not be used and was skipped (`--on-error skip`)",
    (
        Column("source", pa.string(), "File."),
        Column("line", pa.int64(), "Line of the file, from 1."),
        Column("rule", pa.string(), "The rule it broke."),
        Column("excerpt", pa.string(), "First 200 characters."),
    ),
)

TABLES: dict[str, TableSchema] = {
    t.name: t
    for t in (
        DOCUMENTS,
        SENTENCES,
        WORDS,
        TOKENS,
        ROWS,
        CONCEPTS,
        LABELS,
        NEURON_STATS,
        RANKINGS,
        LAYER_BESTS,
        NULL_CHECKS,
        CONTEXTS,
        EXPLANATIONS,
        TOP_WORDS,
        *CORRELATION_TABLES,
        FACTORS,
        FACTOR_NEURONS,
        FACTOR_ROWS,
        RUNS,
        SHARDS,
        QUARANTINE,
    )
}

#: Quantile levels of ``neuron_stats``, in column order.
QUANTILES: dict[str, float] = {
    "q001": 0.001,
    "q005": 0.005,
    "q01": 0.01,
    "q05": 0.05,
    "q25": 0.25,
    "q50": 0.5,
    "q75": 0.75,
    "q95": 0.95,
    "q99": 0.99,
    "q995": 0.995,
    "q999": 0.999,
}


def neuron_column(neuron: int) -> str:
    """Name of a neuron's column in an activation file: ``n0000`` …, five digits from 10,000 on."""
    return f"n{neuron:04d}"


def words_schema(layers: tuple[str, ...]) -> pa.Schema:
    """Schema of ``words`` for a corpus with these label layers: fixed columns, then one dictionary column a layer."""
    fields = [*WORDS.arrow, *(pa.field(layer, _LABEL, nullable=True) for layer in layers)]
    return pa.schema(fields)
