-- layer_dimensions: how many dimensions a layer's activations have
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, n_neurons, n_rows, total_variance, rank, participation_ratio,
--     effective_rank, n_90, n_95, n_99
-- example row: 3f… | minilm | resid | 3 | 384 | 25147 | 52.9 | 384 | 41.3 | 170.2 | 150 | 201 | 290
SELECT
    run_id,
    model,
    component,
    layer,
    n_neurons,
    n_rows,
    total_variance,
    rank,
    participation_ratio,
    effective_rank,
    n_90,
    n_95,
    n_99
FROM read_parquet({files}, hive_partitioning = false)
