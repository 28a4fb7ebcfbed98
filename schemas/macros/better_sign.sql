-- better_sign: the direction with the larger score; +1 on a tie, which is a relative difference of at most 1e-12
-- inputs: plus, the score of x; minus, the score of −x
-- output columns: one value, +1 or −1
-- example row: 1
CREATE MACRO better_sign(plus, minus) AS
    CASE WHEN minus - plus > 1e-12 * greatest(abs(plus), abs(minus)) THEN -1 ELSE 1 END
