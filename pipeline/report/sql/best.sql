-- Best neuron of each concept by one method.
-- Input:   $run, $method, $params
-- Output:  concept, component, layer, neuron, score, sign, threshold, n_rows, n_pos, base_rate, q_value, heldout_score
-- Example: upos=NUM | resid | 4 | 63 | 0.861 | 1 | null | 42000 | 812 | 0.0193 | 1e-12 | 0.848
select
    concept, component, layer, neuron, score, sign, threshold, n_rows, n_pos, base_rate, q_value, heldout_score
from rankings
where run_id = $run and method = $method and params = $params and concept is not null and partner is null and rank = 1
order by concept
