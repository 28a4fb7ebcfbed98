-- neuron_ap: average precision of a neuron for a concept, as the method `ap` of rankings
-- inputs: as of neuron_thresholds.sql
-- output columns: score and sign (+1: large values detect the concept, −1: small ones); score_plus and score_minus,
--     of x and −x; n_rows, n_pos, base_rate. Scores are null where the concept holds for no row or for all
-- example row: 0.86 | 1 | 0.86 | 0.01 | 80211 | 1804 | 0.022
CREATE MACRO neuron_ap(
    component, layer, neuron, concept, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH sums AS (
    SELECT
        coalesce(min(t.n_rows), 0) AS n_rows,
        coalesce(min(t.n_pos), 0) AS n_pos,
        sum(t.pos_at_value * (t.pos_at_least / t.n_at_least)) AS plus,
        sum(t.pos_at_value * (t.pos_at_most / t.n_at_most)) AS minus
    FROM neuron_thresholds(component, layer, neuron, concept, model := model, split := split{and_root}) AS t
),
scores AS (
    SELECT
        s.plus / s.n_pos AS score_plus,
        s.minus / s.n_pos AS score_minus,
        better_sign(score_plus, score_minus) AS sign
    FROM sums AS s
    WHERE s.n_pos > 0 AND s.n_pos < s.n_rows
)
SELECT
    CASE WHEN s.sign > 0 THEN s.score_plus ELSE s.score_minus END AS score,
    s.sign,
    s.score_plus,
    s.score_minus,
    n.n_rows,
    n.n_pos,
    n.n_pos / nullif(n.n_rows, 0) AS base_rate
FROM sums AS n
LEFT JOIN scores AS s ON true
