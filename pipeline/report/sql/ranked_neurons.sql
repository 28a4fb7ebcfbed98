-- Ranked neurons of one concept by several methods and runs; those without a defined score are left out.
-- Input:   $concept, $rankings (list of [run_id, method, params]), $components (list of names)
-- Output:  ranking (number in $rankings, from 0), component (number in $components, from 0), layer, neuron, score
-- Example: 0 | 1 | 3 | 63 | 0.86
select
    list_position($rankings, [run_id, method, params]) - 1 as ranking,
    list_position($components, component) - 1 as component,
    layer,
    neuron,
    score
from rankings
where concept = $concept and partner is null and score is not null and not isnan(score)
    and list_contains($rankings, [run_id, method, params])
