-- cluster_spans: how many clusters of two neurons and more lie within so many adjacent layers (Dalvi et al. 2020)
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, linkage, signed, threshold, component, window_size, n_clusters, n_within
-- example row: 3f… | minilm | average | false | 0.3 | resid | 2 | 310 | 290
SELECT
    run_id,
    model,
    linkage,
    signed,
    threshold,
    component,
    window_size,
    n_clusters,
    n_within
FROM read_parquet({files}, hive_partitioning = false)
