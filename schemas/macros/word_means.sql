-- word_means: one word type with a neuron's mean on it, shrunk towards the mean of all words as far as chance demands
-- inputs: as of neuron_values.sql; min_count, the fewest rows of a word that is shown
-- output columns: word, n_rows, mean, standard_error (of the word's own rows; null for one row), score; best first.
--     score = m + (mean − m) · n / (n + s² / t²): n the word's rows, m the mean of all rows, s² the variance within
--     words, t² the covariance of two rows of one word (weights n − 1), less its standard error, at least 0. Where t²
--     = 0 words differ by no more than chance, and every score is m. A word of one row adds nothing to t² and is
--     shrunk most: without an effect it does not lead, as by its mean it would
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
        sum(b.n * b.mean) / sum(b.n) AS mean,
        nullif(sum(b.n - 1), 0) AS freedom,
        sum((b.n - 1) * b.variance) / freedom AS within_words
    FROM by_word AS b
),
covariances AS (
    -- (n − 1) times the mean of (x − m)(y − m) over pairs of a word's rows
    SELECT (b.n - 1) * ((b.mean - o.mean) ** 2 - b.variance / b.n) AS weighted, o.freedom
    FROM by_word AS b
    CROSS JOIN overall AS o
    WHERE b.n > 1
),
spread AS (
    SELECT greatest(sum(c.weighted) - sqrt(sum(c.weighted ** 2)), 0) / min(c.freedom) AS between_words
    FROM covariances AS c
)
SELECT
    b.word,
    b.n AS n_rows,
    b.mean,
    sqrt(b.variance / b.n) AS standard_error,
    o.mean + coalesce(
        (b.mean - o.mean) * b.n * s.between_words / nullif(b.n * s.between_words + o.within_words, 0),
        0
    ) AS score
FROM by_word AS b
CROSS JOIN overall AS o
CROSS JOIN spread AS s
WHERE b.n >= min_count
ORDER BY score DESC, n_rows DESC, b.word
