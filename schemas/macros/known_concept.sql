-- known_concept: the concept's name itself, so that a misspelt one is an error and not a concept without rows
-- inputs: asked, a concept
-- output columns: one value, the name
-- example row: upos=NUM
CREATE MACRO known_concept(asked) AS (
    SELECT CASE
        WHEN count(*) > 0 THEN min(c.concept)
        ELSE error('no concept ''' || asked || ''' in this store; SELECT concept FROM concepts lists them')
    END
    FROM concepts AS c
    WHERE c.concept = asked
)
