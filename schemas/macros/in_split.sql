-- in_split: whether a row belongs to the rows that are asked for
-- inputs: split: train, dev, test, all, or null for train where there is a train split and all where not; own_split,
--     the row's; has_train, whether any row is in train
-- output columns: one value, true or false
-- example row: true
CREATE MACRO in_split(split, own_split, has_train) AS
    CASE coalesce(split, CASE WHEN has_train THEN 'train' ELSE 'all' END)
        WHEN 'all' THEN true
        WHEN own_split THEN true
        ELSE false
    END
