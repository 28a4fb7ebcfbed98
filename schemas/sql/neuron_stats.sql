-- neuron_stats: one neuron over the counted rows of all splits
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, component, layer, neuron, unit, n_rows, mean, variance, skewness, kurtosis,
--     min, max, q001, q005, q01, q05, q25, q50, q75, q95, q99, q995, q999, activity_rate, saturation,
--     is_dead, is_saturated, eps
-- example row: 3f… | minilm | mlp | 3 | 63 | token | 80211 | 0.02 | 0.31 | …
SELECT
    run_id,
    model,
    component,
    layer,
    neuron,
    unit,
    n_rows,
    mean,
    variance,
    skewness,
    kurtosis,
    min,
    max,
    q001,
    q005,
    q01,
    q05,
    q25,
    q50,
    q75,
    q95,
    q99,
    q995,
    q999,
    activity_rate,
    saturation,
    is_dead,
    is_saturated,
    eps
FROM read_parquet({files}, hive_partitioning = false)
