-- shared_clusters: how many clusters two layers share; each two layers twice, in either order
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, linkage, signed, threshold, component, layer, other_component, other_layer,
--     n_clusters
-- example row: 3f… | minilm | average | false | 0.3 | resid | 1 | resid | 2 | 212
SELECT
    run_id,
    model,
    linkage,
    signed,
    threshold,
    component,
    layer,
    other_component,
    other_layer,
    n_clusters
FROM read_parquet({files}, hive_partitioning = false)
