-- pca_spectrum: one principal component of a layer
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, k, eigenvalue, share, cumulative
-- example row: 3f… | minilm | resid | 3 | 1 | 4.81 | 0.12 | 0.12
SELECT
    run_id,
    model,
    component,
    layer,
    k,
    eigenvalue,
    share,
    cumulative
FROM read_parquet({files}, hive_partitioning = false)
