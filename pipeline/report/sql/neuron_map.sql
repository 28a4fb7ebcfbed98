-- Neurons on one map with the concept each is best for; of more than $n_points, so many at even distances.
-- Input:   $run, $method, $params (of the map), $n_points, $by, $by_params (the ranking's method and params)
-- Output:  component, layer, neuron, x, y, map_group, concept, rank, score; the last three null for unranked neurons
-- Example: resid | 4 | 63 | 1.82 | -0.41 | 3 | upos=NUM | 1 | 0.861
with placed as (
    select
        component, layer, neuron, x, y, map_group,
        row_number() over (order by component, layer, neuron) - 1 as place, count(*) over () as n_placed
    from neuron_map
    where run_id = $run and method = $method and params = $params and isfinite(x) and isfinite(y)
),
sampled as (
    select * from placed
    where n_placed <= $n_points or place * $n_points // n_placed > (place - 1) * $n_points // n_placed or place = 0
),
best as (
    select component, layer, neuron, concept, rank, score
    from rankings
    where run_id = $run and method = $by and params = $by_params and concept is not null and partner is null
        and isfinite(score)
    qualify row_number() over (partition by component, layer, neuron order by rank, score desc, concept) = 1
)
select s.component, s.layer, s.neuron, s.x, s.y, s.map_group, b.concept, b.rank, b.score
from sampled s
left join best b using (component, layer, neuron)
order by s.component, s.layer, s.neuron
