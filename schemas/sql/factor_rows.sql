-- factor_rows: one row on which one factor is active. Key: run_id, component, layer, factor, row_id
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, factor, rank, row_id, value
-- example row: 3f… | minilm | mlp | 3 | 0 | 1 | 4711 | 6.2
SELECT
    run_id,
    model,
    component,
    layer,
    factor,
    rank,
    row_id,
    value
FROM read_parquet({files}, hive_partitioning = false)
