-- Concepts that the members of some clusters are among the first neurons of, those with most members first.
-- Input:   $run, $linkage, $signed, $threshold, $clusters (list of numbers), $method, $params, $top (rank at most),
--          $n_concepts (of one cluster)
-- Output:  cluster, concept, members that are among the first $top, best rank, its score
-- Example: 12 | upos=NUM | 3 | 1 | 0.861
with found as (
    select c.cluster, r.concept, count(*) as n_members, min(r.rank) as best_rank, arg_min(r.score, r.rank) as score
    from clusters c
    join rankings r using (run_id, model, component, layer, neuron)
    where c.run_id = $run and c.linkage = $linkage and c.signed = $signed and c.threshold = $threshold
        and list_contains($clusters, c.cluster)
        and r.method = $method and r.params = $params and r.concept is not null and r.partner is null
        and isfinite(r.score) and r.rank <= $top
    group by c.cluster, r.concept
)
select cluster, concept, n_members, best_rank, score
from found
qualify row_number() over (partition by cluster order by n_members desc, best_rank, concept) <= $n_concepts
order by cluster, n_members desc, best_rank, concept
