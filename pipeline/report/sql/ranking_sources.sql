-- Rankings of a store: one row per run, method and its parameters.
-- Input:   $models (list of aliases, or null for all)
-- Output:  run_id, model, method, params, number of concepts
-- Example: 3f… | minilm | ap | {"label_on":"all"} | 17
select run_id, any_value(model), method, params, count(distinct concept)
from rankings
where concept is not null and partner is null and ($models is null or list_contains($models, model))
group by run_id, method, params
order by any_value(model), run_id, method, params
