-- Members of some clusters of one clustering: the representative, then those most like the rest.
-- Input:   $run, $linkage, $signed, $threshold, $clusters (list of numbers), $n_members (of one cluster at most)
-- Output:  cluster, component, layer, neuron; clusters in the order of the list
-- Example: 12 | mlp | 3 | 63
select cluster, component, layer, neuron
from clusters
where run_id = $run and linkage = $linkage and signed = $signed and threshold = $threshold
    and list_contains($clusters, cluster)
qualify row_number() over (
    partition by cluster order by is_representative desc, member_mean_r desc nulls last, component, layer, neuron
) <= $n_members
order by list_position($clusters, cluster), is_representative desc, member_mean_r desc nulls last, component, layer, neuron
