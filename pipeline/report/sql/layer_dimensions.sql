-- How many dimensions the activations of each layer have.
-- Input:   $run
-- Output:  component, layer, n_neurons, n_rows, participation_ratio, effective_rank, n_90, n_95, n_99
-- Example: resid | 4 | 384 | 42000 | 41.2 | 120.3 | 96 | 151 | 260
select component, layer, n_neurons, n_rows, participation_ratio, effective_rank, n_90, n_95, n_99
from layer_dimensions
where run_id = $run
order by component, layer
