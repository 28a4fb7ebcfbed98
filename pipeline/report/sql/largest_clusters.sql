-- The largest clusters of one clustering, of two neurons and more; the representative comes as three columns.
-- Input:   $run, $linkage, $signed, $threshold, $n_clusters
-- Output:  cluster, size, mean_r, component, layer, neuron, places (list of [component, layer] structs with a member)
-- Example: 12 | 4 | 0.81 | mlp | 3 | 63 | [{component: mlp, layer: 3}, {component: mlp, layer: 4}]
with found as (
    select *, case when is_representative then {'component': component, 'layer': layer, 'neuron': neuron} end as place
    from clusters
    where run_id = $run and linkage = $linkage and signed = $signed and threshold = $threshold and size >= 2
)
select
    cluster, any_value(size) as size, any_value(mean_r), min(place).component, min(place).layer, min(place).neuron,
    list(distinct {'component': component, 'layer': layer})
from found
group by cluster
order by size desc, cluster
limit $n_clusters
