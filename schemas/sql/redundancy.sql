-- redundancy: how many neurons could go at one threshold if one of each cluster stayed
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, linkage, signed, threshold, scope, component, layer, n_neurons, n_clusters, share
-- example row: 3f… | minilm | average | false | 0.3 | layer | mlp | 3 | 1536 | 1411 | 0.081
SELECT
    run_id,
    model,
    linkage,
    signed,
    threshold,
    scope,
    component,
    layer,
    n_neurons,
    n_clusters,
    share
FROM read_parquet({files}, hive_partitioning = false)
