-- Neurons on one map with the concept each is best for; of more than $n_points, so many drawn by hash.
-- Input:   $run, $method, $params (of the map), $n_points, $by, $by_params (the ranking's method and params)
-- Output:  component, layer, neuron, x, y, map_group, concept, rank, score; the last three null for unranked neurons
-- Example: resid | 4 | 63 | 1.82 | -0.41 | 3 | upos=NUM | 1 | 0.861
with placed as (
    select component, layer, neuron, x, y, map_group
    from neuron_map
    where run_id = $run and method = $method and params = $params and isfinite(x) and isfinite(y)
    order by md5(concat_ws(':', component, layer, neuron)), component, layer, neuron
    limit $n_points
),
best as (
    select component, layer, neuron, concept, rank, score
    from rankings
    where run_id = $run and method = $by and params = $by_params and concept is not null and partner is null
        and isfinite(score)
    qualify row_number() over (partition by component, layer, neuron order by rank, score desc, concept) = 1
)
select p.component, p.layer, p.neuron, p.x, p.y, p.map_group, b.concept, b.rank, b.score
from placed p
left join best b using (component, layer, neuron)
order by p.component, p.layer, p.neuron
