-- Every concept for which a neuron that neurons.sql returns is among the first $top, by the same method.
-- Input:   $run, $method, $params, $concept (null: all), $n_neurons, $top
-- Output:  component, layer, neuron, concept, rank, score, sign
-- Example: resid | 4 | 63 | xpos=CD | 1 | 0.864 | 1
with selected as (
    select distinct run_id, model, component, layer, neuron
    from rankings
    where run_id = $run and method = $method and params = $params and concept is not null and partner is null
        and ($concept is null or concept = $concept) and isfinite(score) and rank <= $n_neurons
)
select r.component, r.layer, r.neuron, r.concept, r.rank, r.score, r.sign
from rankings r
join selected using (run_id, model, component, layer, neuron)
where r.method = $method and r.params = $params and r.concept is not null and r.partner is null
    and isfinite(r.score) and r.rank <= $top
order by r.component, r.layer, r.neuron, r.rank, r.score desc, r.concept
