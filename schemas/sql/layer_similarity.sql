-- layer_similarity: one measure of how alike a layer of one model and a layer of the same or another model are
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, partner_model, partner_store, partner_component, partner_layer,
--     measure, value, null_value, n_rows, params
-- example row: 3f… | minilm | resid | 3 | mpnet | null | resid | 6 | cka | 0.61 | 0.02 | 25000 | {{"seed": 0}}
SELECT
    run_id,
    model,
    component,
    layer,
    partner_model,
    partner_store,
    partner_component,
    partner_layer,
    measure,
    value,
    null_value,
    n_rows,
    params
FROM read_parquet({files}, hive_partitioning = false)
