-- Rankings of a run: one row per method and its parameters.
-- Input:   $run
-- Output:  method, params, split, n_rows scored, most neurons kept for a concept
-- Example: ap | {"pooling":null} | train | 42000 | 100
select method, params, any_value(split), max(n_rows), max(n_kept)
from (
    select method, params, concept, any_value(split) as split, max(n_rows) as n_rows, count(*) as n_kept
    from rankings
    where run_id = $run and concept is not null and partner is null
    group by method, params, concept
)
group by method, params
order by method, params
