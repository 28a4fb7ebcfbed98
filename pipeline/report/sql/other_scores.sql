-- What the other methods say of the neurons that neurons.sql returns, for the same concept.
-- Input:   $run, $method, $params, $concept (null: all), $n_neurons
-- Output:  concept, component, layer, neuron, method, params, score, sign, rank
-- Example: upos=NUM | resid | 4 | 63 | auroc | {} | 0.991 | 1 | 1
with selected as (
    select run_id, model, component, layer, neuron, concept
    from rankings
    where run_id = $run and method = $method and params = $params and concept is not null and partner is null
        and ($concept is null or concept = $concept) and isfinite(score) and rank <= $n_neurons
)
select r.concept, r.component, r.layer, r.neuron, r.method, r.params, r.score, r.sign, r.rank
from rankings r
join selected using (run_id, model, component, layer, neuron, concept)
where r.partner is null and (r.method, r.params) <> ($method, $params) and isfinite(r.score)
order by r.concept, r.component, r.layer, r.neuron, r.method, r.params
