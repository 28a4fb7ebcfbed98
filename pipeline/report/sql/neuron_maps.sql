-- Maps of neurons of a run.
-- Input:   $run
-- Output:  method, params, neurons with a place on it, neurons
-- Example: kmeans | {"k": 12, "seed": 0} | 11900 | 11904
select method, params, count(*) filter (where isfinite(x) and isfinite(y)), count(*)
from neuron_map
where run_id = $run
group by method, params
order by method desc, params
