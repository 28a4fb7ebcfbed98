-- Best neuron of each concept in each component and layer, by one method; rank is null for one that was not kept.
-- Input:   $run, $method, $params
-- Output:  concept, component, layer, neuron, score, sign, rank
-- Example: upos=NUM | resid | 4 | 63 | 0.861 | 1 | 1
select b.concept, b.component, b.layer, b.neuron, b.score, b.sign, r.rank
from layer_bests b
left join rankings r using (run_id, model, component, layer, neuron, concept, method, params)
where b.run_id = $run and b.method = $method and b.params = $params and isfinite(b.score)
order by b.concept, b.component, b.layer
