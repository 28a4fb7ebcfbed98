-- cluster_concepts: clusters of two neurons and more, each with the concepts that its members detect best
-- inputs: threshold, one of `clusters`; method, of `rankings`; k, concepts of a cluster (and of a member) at most; model,
--     an alias, the store's only one by default
-- output columns: model, cluster, size, n_layers, mean_r; component, layer and neuron of the representative; place of
--     the concept in the cluster, from 1 by score; concept, score (the best of a member, in `rankings`), n_members (of
--     those with the concept among their own k best there). A cluster of which no member is in `rankings` has one row,
--     with null from place on and 0 members
-- example row: minilm | 12 | 4 | 2 | 0.81 | mlp | 3 | 63 | 1 | upos=NUM | 0.86 | 3
CREATE MACRO cluster_concepts(threshold, method := 'ap', k := 5, model := NULL) AS TABLE
WITH members AS (
    SELECT c.*
    FROM unnest([threshold]) AS asked(level)
    JOIN clusters AS c ON c.threshold = asked.level::DOUBLE
    WHERE c.size > 1 AND c.threshold = known_threshold(threshold) AND c.model = chosen_model(NULL, NULL, model)
),
found AS (
    SELECT
        m.cluster,
        r.concept,
        r.score,
        row_number() OVER (
            PARTITION BY r.component, r.layer, r.neuron ORDER BY r.score DESC, r.concept
        ) AS own_place
    FROM unnest([method]) AS asked(method)
    JOIN rankings AS r ON r.method = asked.method
    JOIN members AS m
        ON m.run_id = r.run_id AND m.component = r.component AND m.layer = r.layer AND m.neuron = r.neuron
    WHERE r.score IS NOT NULL
),
concepts_of AS (
    SELECT
        f.cluster,
        f.concept,
        max(f.score) AS score,
        count(*) FILTER (f.own_place <= k) AS n_members
    FROM found AS f
    GROUP BY f.cluster, f.concept
),
placed AS (
    SELECT
        c.*,
        row_number() OVER (PARTITION BY c.cluster ORDER BY c.score DESC, c.n_members DESC, c.concept) AS place
    FROM concepts_of AS c
)
SELECT
    m.model,
    m.cluster,
    m.size,
    m.n_layers,
    m.mean_r,
    m.component,
    m.layer,
    m.neuron,
    p.place,
    p.concept,
    p.score,
    coalesce(p.n_members, 0) AS n_members
FROM members AS m
LEFT JOIN placed AS p ON p.cluster = m.cluster AND p.place <= k
WHERE m.is_representative
ORDER BY m.size DESC, m.cluster, p.place
