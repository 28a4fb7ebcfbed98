-- Neurons per component and layer, dead ones too.
-- Input:   $run
-- Output:  component, layer, n_neurons, n_dead, n_saturated
-- Example: resid | 4 | 384 | 0 | 1
select component, layer, count(*), count(*) filter (where is_dead), count(*) filter (where is_saturated)
from neuron_stats
where run_id = $run
group by component, layer
order by component, layer
