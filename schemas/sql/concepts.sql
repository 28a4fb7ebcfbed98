-- concepts: one concept
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: concept, kind, layer, value, definition, label_on, n_words, n_rows
-- example row: upos=NUM | layer | upos | NUM | upos=NUM | all | 1520 | 1804
SELECT
    concept,
    kind,
    layer,
    value,
    definition,
    label_on,
    n_words,
    n_rows
FROM read_parquet({files}, hive_partitioning = false)
