-- How the scores of the rankings without a concept are distributed: those by neurons of other models.
-- Input:   $run, $n_bins (of equal width from 0, or the method's smallest score, to 1, or its largest)
-- Output:  method, params, model of the partner (its alias, or store::alias; null without a score), component, low,
--          high, bin (from 0; null without a score), n_neurons
-- Example: maxcorr | {"null_max": 0.3} | mpnet | resid | 0.0 | 1.0 | 31 | 87
with scored as (
    select
        method, params, component, case when isfinite(score) then score end as score,
        case when isfinite(score)
            then regexp_replace(partner, ':[^:/]+:[0-9]+(:[0-9]+)?$', '') end as partner_model
    from rankings
    where run_id = $run and concept is null
),
bounded as (
    select
        *, least(0.0, min(score) over (partition by method)) as low,
        greatest(1.0, max(score) over (partition by method)) as high
    from scored
)
select
    method, params, partner_model, component, low, high,
    case when score is not null  -- least() skips nulls
        then cast(least(floor((score - low) / (high - low) * $n_bins), $n_bins - 1) as integer) end as bin,
    count(*)
from bounded
group by all
order by all nulls first
