-- word_means: one word type with a neuron's mean on it, shrunk towards the mean of all words as far as chance demands
-- inputs: as of neuron_values.sql; min_count, the fewest rows of a word that is shown
-- output columns: word, n_rows, mean, standard_error (of the word's own n rows; null for one row), score. Best first.
--     score = m + (mean − m) · n / (n + s² / t²): m mean of all rows, s² variance within words, t² variance between
--     words by the analysis of variance with one random factor, at least 0. Where t² = 0 words don't differ by more than
--     chance, and every score is m. Under no effect a word of one row hence never leads, which by its mean it would.
-- example row: three | 41 | 3.2 | 0.11 | 3.1
CREATE MACRO word_means(
    component, layer, neuron, min_count := 5, model := NULL, split := NULL{root_parameter}
) AS TABLE
WITH by_word AS MATERIALIZED (
    SELECT w.word, count(*) AS n, avg(v.value) AS mean, var_samp(v.value) AS variance
    FROM neuron_values(component, layer, neuron, model := model, split := split{and_root}) AS v
    JOIN words{root} AS w ON w.word_id = v.word_id
    GROUP BY w.word
),
overall AS (
    SELECT
        sum(b.n) AS n_rows,
        count(*) AS n_words,
        sum(b.n * b.mean) / n_rows AS mean,
        sum(b.n * b.n) AS n_squared,
        sum((b.n - 1) * coalesce(b.variance, 0)) / nullif(n_rows - n_words, 0) AS within_words
    FROM by_word AS b
),
squares AS (
    SELECT sum(b.n * (b.mean - o.mean) ** 2) AS between_sum
    FROM by_word AS b
    CROSS JOIN overall AS o
),
spread AS (
    SELECT
        o.mean,
        o.within_words,
        q.between_sum / nullif(o.n_words - 1, 0) AS mean_square,
        (o.n_rows - o.n_squared / o.n_rows) / nullif(o.n_words - 1, 0) AS typical_n,
        greatest((mean_square - o.within_words) / typical_n, 0) AS between_words
    FROM overall AS o
    CROSS JOIN squares AS q
)
SELECT
    b.word,
    b.n AS n_rows,
    b.mean,
    sqrt(b.variance / b.n) AS standard_error,
    s.mean + coalesce(
        (b.mean - s.mean) * b.n * s.between_words / nullif(b.n * s.between_words + s.within_words, 0),
        0
    ) AS score
FROM by_word AS b
CROSS JOIN spread AS s
WHERE b.n >= min_count
ORDER BY score DESC, n_rows DESC, b.word
