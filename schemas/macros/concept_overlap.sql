-- concept_overlap: how far two concepts hold for the same counted rows
-- inputs: a and b, two concepts; model and split as of neuron_values.sql
-- output columns: n_a, n_b, n_both, n_rows; iou (n_both / rows of either); phi, the correlation of the two; lift,
--     n_both over what independence gives. Null where undefined: phi and lift if one holds for no row, phi also if
--     for all
-- example row: 1804 | 2210 | 1650 | 80211 | 0.698 | 0.822 | 33.2
CREATE MACRO concept_overlap(a, b, model := NULL, split := NULL{root_parameter}) AS TABLE
WITH labelled AS (
    SELECT l.row_id, bool_or(l.concept = a) AS is_a, bool_or(l.concept = b) AS is_b
    FROM unnest([a, b]) AS asked(concept)
    JOIN labels{root} AS l ON l.concept = asked.concept
    WHERE l.concept IN (known_concept(a), known_concept(b))
    GROUP BY l.row_id
),
counted AS (
    SELECT r.row_id, r.split AS own_split, bool_or(r.split = 'train') OVER () AS has_train
    FROM rows{root} AS r
    SEMI JOIN (
        SELECT s.first_row, s.n_rows FROM shards AS s WHERE s.model = chosen_model(NULL, NULL, model)
    ) AS s ON r.row_id >= s.first_row AND r.row_id < s.first_row + s.n_rows
    WHERE r.is_counted
),
sizes AS (
    SELECT
        (count(*) FILTER (l.is_a))::DOUBLE AS n_a,
        (count(*) FILTER (l.is_b))::DOUBLE AS n_b,
        (count(*) FILTER (l.is_a AND l.is_b))::DOUBLE AS n_both,
        count(*)::DOUBLE AS n_rows
    -- in this order: DuckDB tries the views when the macro is made, and would take their columns `model` and `split`
    -- for the parameters of these names, but it leaves off at the first table that needs a parameter's value
    FROM labelled AS l
    RIGHT JOIN counted AS c ON l.row_id = c.row_id
    WHERE in_split(split, c.own_split, c.has_train)
)
SELECT
    s.n_a::BIGINT AS n_a,
    s.n_b::BIGINT AS n_b,
    s.n_both::BIGINT AS n_both,
    s.n_rows::BIGINT AS n_rows,
    s.n_both / nullif(s.n_a + s.n_b - s.n_both, 0) AS iou,
    (s.n_rows * s.n_both - s.n_a * s.n_b)
        / nullif(sqrt(s.n_a * (s.n_rows - s.n_a)) * sqrt(s.n_b * (s.n_rows - s.n_b)), 0) AS phi,
    s.n_both * s.n_rows / nullif(s.n_a * s.n_b, 0) AS lift
FROM sizes AS s
