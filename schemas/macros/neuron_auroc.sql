-- neuron_auroc: area under the ROC curve of a neuron for a concept, as the method `auroc` of rankings: the
-- probability that a row of the concept outranks one without it, ties counting half (Mann–Whitney with mid-ranks)
-- inputs: as of neuron_thresholds.sql
-- output columns: as of neuron_ap.sql
-- example row: 0.97 | 1 | 0.97 | 0.03 | 80211 | 1804 | 0.022
CREATE MACRO neuron_auroc(
    component, layer, neuron, concept, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH sums AS (
    SELECT
        coalesce(min(t.n_rows), 0) AS n_rows,
        coalesce(min(t.n_pos), 0) AS n_pos,
        -- mid-rank of tied rows: the mean of the ranks n_at_most − at_value + 1 … n_at_most
        sum(t.pos_at_value * (2 * t.n_at_most - t.at_value + 1)) / 2 AS rank_sum
    FROM neuron_thresholds(component, layer, neuron, concept, model := model, split := split{and_root}) AS t
),
scores AS (
    SELECT
        (s.rank_sum - s.n_pos * (s.n_pos + 1) / 2) / (s.n_pos * (s.n_rows - s.n_pos)) AS score_plus,
        1 - score_plus AS score_minus,
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
