-- neuron_histogram: one of several equally wide bins of a neuron's values, from the smallest to the largest
-- inputs: as of neuron_values.sql; bins, how many; concept, to count its rows too
-- output columns: bin (from 0), low ≤ x < high (the last bin includes its high), n_rows, n_pos (null without a
--     concept); one bin for a constant neuron
-- example row: 7 | 0.5 | 0.75 | 1312 | 40
CREATE MACRO neuron_histogram(
    component, layer, neuron, bins := 50, concept := NULL, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH counts AS MATERIALIZED (
    SELECT v.value, count(*) AS n_rows, count(l.row_id) AS n_pos
    FROM neuron_values(component, layer, neuron, model := model, split := split{and_root}) AS v
    LEFT JOIN (
        SELECT DISTINCT l.row_id
        FROM labels{root} AS l
        WHERE concept IS NOT NULL AND l.concept = known_concept(concept)
    ) AS l ON l.row_id = v.row_id
    GROUP BY v.value
),
ends AS (
    SELECT
        min(c.value) AS first,
        max(c.value) AS last,
        CASE WHEN first = last THEN 1 ELSE bins END AS n_bins,
        (last - first) / n_bins AS width
    FROM counts AS c
    HAVING CASE WHEN bins >= 1 THEN true ELSE error('bins must be at least 1, not ' || bins)::BOOLEAN END
),
edges AS (
    SELECT
        b.bin,
        e.first + b.bin * e.width AS low,
        CASE WHEN b.bin = e.n_bins - 1 THEN e.last ELSE e.first + (b.bin + 1) * e.width END AS high
    FROM ends AS e
    CROSS JOIN unnest(range(e.n_bins)) AS b(bin)
),
filled AS (
    -- every value falls to the last bin whose low edge is not above it
    SELECT b.low, sum(c.n_rows) AS n_rows, sum(c.n_pos) AS n_pos
    FROM counts AS c
    ASOF JOIN edges AS b ON c.value >= b.low
    GROUP BY b.low
)
SELECT
    b.bin,
    b.low,
    b.high,
    coalesce(f.n_rows, 0)::BIGINT AS n_rows,
    CASE WHEN concept IS NOT NULL THEN coalesce(f.n_pos, 0)::BIGINT END AS n_pos
FROM edges AS b
LEFT JOIN filled AS f ON f.low = b.low
ORDER BY b.bin
