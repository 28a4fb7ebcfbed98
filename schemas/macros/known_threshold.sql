-- known_threshold: the threshold itself, so that one without clusters is an error and not an empty table
-- inputs: asked, a threshold of `clusters`
-- output columns: one value, the threshold
-- example row: 0.3
CREATE MACRO known_threshold(asked) AS (
    SELECT CASE
        WHEN count(*) > 0 THEN min(found.threshold)
        ELSE error(
            'no clusters at threshold ' || asked || '; SELECT DISTINCT threshold FROM clusters lists those there are, '
            || 'neuronmill cluster --threshold makes others'
        )
    END
    FROM (SELECT DISTINCT c.threshold FROM clusters AS c WHERE c.threshold = asked::DOUBLE) AS found
)
