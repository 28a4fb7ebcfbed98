-- How many clusters of two neurons and more lie within so many adjacent layers.
-- Input:   $run
-- Output:  linkage, signed, component (null: all), threshold, window_size, n_clusters, n_within
-- Example: average | false | null | 0.3 | 2 | 410 | 388
select linkage, signed, component, threshold, window_size, n_clusters, n_within
from cluster_spans
where run_id = $run
order by linkage, signed, component nulls first, threshold, window_size
