-- factors: one non-negative factor of one layer: max(x, 0) ≈ Σ value × weight over the factors. Key: run_id, component,
-- layer, factor
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, factor, share, n_active, mean, max, n_factors, n_rows, relative_error,
--     explained, variance_explained, negative_share, negative_square_share, n_passes, is_converged, params
-- example row: 3f… | minilm | mlp | 3 | 0 | 0.21 | 7800 | 1.9 | 6.2 | 16 | 8000 | 0.61 | 0.63 | 0.42 | 0.58 | 0.12 | 5 | false | {{"k": 16}}
SELECT
    run_id,
    model,
    component,
    layer,
    factor,
    share,
    n_active,
    mean,
    max,
    n_factors,
    n_rows,
    relative_error,
    explained,
    variance_explained,
    negative_share,
    negative_square_share,
    n_passes,
    is_converged,
    params
FROM read_parquet({files}, hive_partitioning = false)
