-- neuron_thresholds: one distinct activation of a neuron, as the threshold of a detector of a concept
-- inputs: as of neuron_values.sql, and concept
-- output columns: value; at_value and pos_at_value, the rows with it and how many of them are of the concept;
--     n_at_least and pos_at_least, those with x ≥ value; n_at_most and pos_at_most, those with x ≤ value; n_rows and
--     n_pos, all
-- example row: 1.25 | 3 | 1 | 40 | 25 | 963 | 6 | 1000 | 30
CREATE MACRO neuron_thresholds(
    component, layer, neuron, concept, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH counts AS (
    SELECT v.value, count(*) AS at_value, count(l.row_id) AS pos_at_value
    FROM neuron_values(component, layer, neuron, model := model, split := split{and_root}) AS v
    LEFT JOIN (
        SELECT DISTINCT l.row_id FROM labels{root} AS l WHERE l.concept = known_concept(concept)
    ) AS l ON l.row_id = v.row_id
    GROUP BY v.value
)
SELECT
    c.value,
    c.at_value,
    c.pos_at_value,
    (sum(c.at_value) OVER descending)::BIGINT AS n_at_least,
    (sum(c.pos_at_value) OVER descending)::BIGINT AS pos_at_least,
    (sum(c.at_value) OVER ascending)::BIGINT AS n_at_most,
    (sum(c.pos_at_value) OVER ascending)::BIGINT AS pos_at_most,
    (sum(c.at_value) OVER ())::BIGINT AS n_rows,
    (sum(c.pos_at_value) OVER ())::BIGINT AS n_pos
FROM counts AS c
WINDOW descending AS (ORDER BY c.value DESC), ascending AS (ORDER BY c.value)
