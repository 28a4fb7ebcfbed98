-- ap_intervals: neurons ranked by average precision for a concept, with lift over the base rate and an interval
-- inputs: concept; z, the normal quantile of the interval (1.96: 95 %, 2.58: 99 %); model, an alias, the store's only
--     one by default
-- output columns: model, component, layer, neuron, sign, rank; score, n_pos, base_rate, lift (score / base_rate), low
--     and high (logit interval of Boyd, Eng & Page 2013: logit(score) ± z / √(n_pos · score · (1 − score)); null for
--     scores of 0 and 1; rows are taken as independent), heldout_score
-- example row: minilm | mlp | 2 | 838 | 1 | 1 | 0.877 | 17638 | 0.077 | 11.4 | 0.872 | 0.882 | 0.879
CREATE MACRO ap_intervals(concept, z := 1.959964, model := NULL) AS TABLE
WITH ranked AS (
    SELECT r.*, CASE WHEN r.score > 0 AND r.score < 1 THEN r.score END AS inner_score
    FROM unnest([concept]) AS asked(concept)
    JOIN rankings AS r ON r.concept = asked.concept
    WHERE r.method = 'ap' AND r.model = chosen_model(NULL, NULL, model)
),
margins AS (
    SELECT
        *,
        ln(inner_score / (1 - inner_score)) AS logit,
        z / sqrt(n_pos * inner_score * (1 - inner_score)) AS margin
    FROM ranked
)
SELECT
    model,
    component,
    layer,
    neuron,
    sign,
    rank,
    score,
    n_pos,
    base_rate,
    score / base_rate AS lift,
    1 / (1 + exp(margin - logit)) AS low,
    1 / (1 + exp(-margin - logit)) AS high,
    heldout_score
FROM margins
ORDER BY rank
