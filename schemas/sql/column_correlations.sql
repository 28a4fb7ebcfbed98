-- column_correlations: one neuron's correlation with a number that every word has
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, word_column, r, rank, n_rows, null_r
-- example row: 3f… | minilm | mlp | 3 | 63 | length | -0.41 | 1 | 25147 | 0.01
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    word_column,
    r,
    rank,
    n_rows,
    null_r
FROM read_parquet({files}, hive_partitioning = false)
