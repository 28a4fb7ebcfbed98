-- Members of some clusters of one clustering that have pairs: the representative, then those most like the rest.
-- Input:   $run, $linkage, $signed, $threshold, $clusters (list of numbers)
-- Output:  cluster, component, layer, neuron; clusters in the order of the list
-- Example: 12 | mlp | 3 | 63
with pairs as (
    from cluster_pairs
    where run_id = $run and linkage = $linkage and signed = $signed and threshold = $threshold
),
paired as (
    select component, layer, neuron from pairs
    union
    select other_component, other_layer, other_neuron from pairs
)
select cluster, component, layer, neuron
from clusters
join paired using (component, layer, neuron)
where run_id = $run and linkage = $linkage and signed = $signed and threshold = $threshold
    and list_contains($clusters, cluster)
order by list_position($clusters, cluster), is_representative desc, member_mean_r desc nulls last, component, layer, neuron
