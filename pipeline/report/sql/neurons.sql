-- The first neurons of each concept by one method, with their corpus statistics.
-- Input:   $run, $method, $params, $concept (null: all), $n_neurons
-- Output:  concept, component, layer, neuron, rank, score, sign, threshold, n_pos, base_rate, p_value, q_value,
--          heldout_score, mean, variance, min, q01, q05, q25, q50, q75, q95, q99, max, activity_rate, is_dead, is_saturated
-- Example: upos=NUM | resid | 4 | 63 | 1 | 0.861 | 1 | null | 812 | 0.0193 | 1e-14 | 1e-12 | 0.848 | 0.02 | 0.19 | …
select
    r.concept, r.component, r.layer, r.neuron, r.rank, r.score, r.sign, r.threshold, r.n_pos, r.base_rate, r.p_value,
    r.q_value, r.heldout_score, s.mean, s.variance, s.min, s.q01, s.q05, s.q25, s.q50, s.q75, s.q95, s.q99, s.max,
    s.activity_rate, s.is_dead, s.is_saturated
from rankings r
left join neuron_stats s using (run_id, model, component, layer, neuron)
where r.run_id = $run and r.method = $method and r.params = $params and r.concept is not null and r.partner is null
    and ($concept is null or r.concept = $concept) and isfinite(r.score) and r.rank <= $n_neurons
order by r.concept, r.rank
