-- How many neurons can go at each threshold: of all neurons, of the layers each by itself, of one layer.
-- Input:   $run
-- Output:  linkage, signed, scope, component, layer, threshold, n_neurons, n_clusters, share
-- Example: average | false | layer | mlp | 3 | 0.3 | 1536 | 1490 | 0.03
select linkage, signed, scope, component, layer, threshold, n_neurons, n_clusters, share
from redundancy
where run_id = $run
order by linkage, signed, scope, component, layer, threshold
