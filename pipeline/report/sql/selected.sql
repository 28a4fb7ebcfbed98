-- Where the selected neurons are: those with rank <= $top for a concept, by one method.
-- Input:   $run, $method, $params, $top
-- Output:  component, layer, n_places ((concept, neuron) pairs), n_neurons (distinct)
-- Example: resid | 4 | 87 | 52
select component, layer, count(*), count(distinct neuron)
from rankings
where run_id = $run and method = $method and params = $params and concept is not null and partner is null
    and isfinite(score) and rank <= $top
group by component, layer
order by component, layer
