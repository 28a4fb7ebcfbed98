-- quantile_between: numpy's linear interpolation between two neighbouring order statistics, bit for bit
-- inputs: low and high, the order statistics; weight in [0, 1), how far from low
-- output columns: one value
-- example row: 1.25
CREATE MACRO quantile_between(low, high, weight) AS
    CASE WHEN weight >= 0.5 THEN high - (high - low) * (1 - weight) ELSE low + (high - low) * weight END
