-- How the scores of the rankings without a concept are distributed, those by neurons of other models, and their nulls.
-- Input:   $run, $n_bins (of equal width from 0, or the method's smallest score or null, to 1, or its largest)
-- Output:  method, params, model of the partner (its alias, or store::alias; null without a score), component, low,
--          high, is_shuffled (the null: none without one), bin (from 0; null without a score), n_neurons
-- Example: maxcorr | {"null_max": 0.3} | mpnet | resid | 0.0 | 1.0 | false | 31 | 87
with scored as (
    select
        method, params, component, case when isfinite(score) then score end as score,
        case when isfinite(null_score) then null_score end as null_score,
        case when isfinite(score)
            then regexp_replace(partner, ':[^:/]+:[0-9]+(:[0-9]+)?$', '') end as partner_model
    from rankings
    left join match_nulls using (run_id, model, component, layer, neuron, method, params)
    where run_id = $run and concept is null
),
bounded as (
    select
        *, least(0.0, min(score) over of_method, min(null_score) over of_method) as low,
        greatest(1.0, max(score) over of_method, max(null_score) over of_method) as high
    from scored
    window of_method as (partition by method)
),
found as (
    select method, params, partner_model, component, low, high, false as is_shuffled, score as value from bounded
    union all
    select method, params, partner_model, component, low, high, true, null_score from bounded
    where null_score is not null
)
select
    method, params, partner_model, component, low, high, is_shuffled,
    case when value is not null  -- least() skips nulls
        then cast(least(floor((value - low) / (high - low) * $n_bins), $n_bins - 1) as integer) end as bin,
    count(*)
from found
group by all
order by all nulls first
