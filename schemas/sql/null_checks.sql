-- null_checks: what a method finds for one concept, and what it finds once the labels are shuffled inside each sentence
-- inputs: {files}, the list of this table's Parquet files by the manifest
-- output columns: run_id, model, concept, method, params, seed, n_neurons, best_score, null_median, null_best,
--     n_tested, n_tested_null, n_above_null, n_survive
-- example row: 3f… | minilm | upos=NUM | ap | {{"label_on": "all"}} | 0 | 11904 | 0.86 | 0.03 | 0.06 | 9120 | 240 | 640 | 811
SELECT
    run_id,
    model,
    concept,
    method,
    params,
    seed,
    n_neurons,
    best_score,
    null_median,
    null_best,
    n_tested,
    n_tested_null,
    n_above_null,
    n_survive
FROM read_parquet({files}, hive_partitioning = false)
