-- neuron_iou: intersection over union of a concept with the rows where a neuron is beyond a threshold, as the method
-- `iou` of rankings
-- inputs: as of neuron_thresholds.sql, and alpha: the rows are x > q(1 − alpha) of x, or −x > q(1 − alpha) of −x,
--     strict, with numpy's linear quantile; or threshold, which replaces both: x > threshold, or x < threshold
-- output columns: score, sign, threshold (on the scale of x: sign −1 means x < threshold); score_plus,
--     threshold_plus, score_minus and threshold_minus, of the two directions; n_rows, n_pos, base_rate
-- example row: 0.41 | 1 | 2.5 | 0.41 | 2.5 | 0.0 | -1.75 | 80211 | 1804 | 0.022
CREATE MACRO neuron_iou(
    component, layer, neuron, concept, alpha := 0.005, threshold := NULL, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH thresholds AS MATERIALIZED (
    SELECT t.*
    FROM neuron_thresholds(component, layer, neuron, concept, model := model, split := split{and_root}) AS t
),
sizes AS (
    SELECT coalesce(min(t.n_rows), 0) AS n_rows, coalesce(min(t.n_pos), 0) AS n_pos
    FROM thresholds AS t
),
places AS (
    SELECT
        (s.n_rows - 1) * (1 - alpha::DOUBLE) AS place,
        floor(place) AS below,
        least(below + 1, s.n_rows - 1) AS above
    FROM sizes AS s
    WHERE CASE
        WHEN alpha > 0 AND alpha < 1 THEN true
        ELSE error('alpha must lie strictly between 0 and 1, not ' || alpha)::BOOLEAN
    END
),
quantiles AS (
    SELECT
        coalesce(threshold, quantile_between(
            min(t.value) FILTER (t.n_at_most > p.below),
            min(t.value) FILTER (t.n_at_most > p.above),
            min(p.place - p.below)
        ) + 0.0) AS threshold_plus,
        coalesce(threshold, -quantile_between(
            min(-t.value) FILTER (t.n_at_least > p.below),
            min(-t.value) FILTER (t.n_at_least > p.above),
            min(p.place - p.below)
        ) + 0.0) AS threshold_minus
    FROM thresholds AS t
    CROSS JOIN places AS p
),
predicted AS (
    SELECT
        coalesce(sum(t.at_value) FILTER (t.value > q.threshold_plus), 0) AS n_plus,
        coalesce(sum(t.pos_at_value) FILTER (t.value > q.threshold_plus), 0) AS both_plus,
        coalesce(sum(t.at_value) FILTER (t.value < q.threshold_minus), 0) AS n_minus,
        coalesce(sum(t.pos_at_value) FILTER (t.value < q.threshold_minus), 0) AS both_minus
    FROM thresholds AS t
    CROSS JOIN quantiles AS q
),
scores AS (
    SELECT
        p.both_plus / (s.n_pos + p.n_plus - p.both_plus) AS score_plus,
        p.both_minus / (s.n_pos + p.n_minus - p.both_minus) AS score_minus,
        better_sign(score_plus, score_minus) AS sign
    FROM predicted AS p
    CROSS JOIN sizes AS s
    WHERE s.n_pos > 0 AND s.n_pos < s.n_rows
)
SELECT
    CASE WHEN s.sign > 0 THEN s.score_plus ELSE s.score_minus END AS score,
    s.sign,
    CASE s.sign WHEN 1 THEN q.threshold_plus WHEN -1 THEN q.threshold_minus END AS threshold,
    s.score_plus,
    q.threshold_plus,
    s.score_minus,
    q.threshold_minus,
    n.n_rows,
    n.n_pos,
    n.n_pos / nullif(n.n_rows, 0) AS base_rate
FROM sizes AS n
CROSS JOIN quantiles AS q
LEFT JOIN scores AS s ON true
