-- Correlations among some neurons, as far as they were kept; neurons by their places in the three lists, from 0.
-- Input:   $run, $components, $layers, $neurons (lists of one length)
-- Output:  place, other place, r
-- Example: 0 | 3 | -0.84
with members as (
    select
        unnest($components) as component, unnest($layers) as layer, unnest($neurons) as neuron,
        unnest(range(len($neurons))) as place
)
select m.place, o.place, e.r
from correlation_edges e
join members m on (m.component, m.layer, m.neuron) = (e.component, e.layer, e.neuron)
join members o on (o.component, o.layer, o.neuron) = (e.other_component, e.other_layer, e.other_neuron)
where e.run_id = $run
order by m.place, o.place
