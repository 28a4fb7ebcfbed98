-- sentences: one sentence
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: sentence_id, document_id, sentence, text, split, labels, n_words
-- example row: 7 | 0 | 7 | Three people came. | train | {} | 4
SELECT
    sentence_id,
    document_id,
    sentence,
    "text",
    split,
    labels,
    n_words
FROM read_parquet({files}, hive_partitioning = false)
