-- runs: one run: one configuration's fingerprint over one corpus and model
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, model_name, architecture, revision, weights_sha256, unit, pooling, dtype, rule,
--     sample, components, layers, n_rows, n_shards, n_bytes, compute, config, versions
-- example row: 3f… | minilm | package:… | bert | null | 53aa… | token | null | float16 | null | null | [resid, mlp] | [0, 1, …] | 80211 | 2 | 1909… | {"attention": "sdpa", …} | … | …
SELECT
    run_id,
    model,
    model_name,
    architecture,
    revision,
    weights_sha256,
    unit,
    pooling,
    dtype,
    rule,
    sample,
    components,
    layers,
    n_rows,
    n_shards,
    n_bytes,
    compute,
    config,
    versions
FROM read_parquet({files}, hive_partitioning = false)
