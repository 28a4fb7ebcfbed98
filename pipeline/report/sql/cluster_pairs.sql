-- Correlations of all pairs of the first members of the largest clusters of one clustering; neurons by their places in
-- the three lists, from 0.
-- Input:   $run, $linkage, $signed, $threshold, $components, $layers, $neurons (lists of one length)
-- Output:  place, other place, r
-- Example: 0 | 3 | -0.84
with members as (
    select
        unnest($components) as component, unnest($layers) as layer, unnest($neurons) as neuron,
        unnest(range(len($neurons))) as place
)
select m.place, o.place, p.r
from cluster_pairs p
join members m on (m.component, m.layer, m.neuron) = (p.component, p.layer, p.neuron)
join members o on (o.component, o.layer, o.neuron) = (p.other_component, p.other_layer, p.other_neuron)
where p.run_id = $run and p.linkage = $linkage and p.signed = $signed and p.threshold = $threshold
order by m.place, o.place
