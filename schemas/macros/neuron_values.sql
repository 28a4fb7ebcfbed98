-- neuron_values: one counted row and its activation, of the rows that searches select on
-- inputs: component, layer, neuron; model, needed where several have the component; split: train, dev, test or all,
--     by default train, or all where no row is in train
-- output columns: row_id, word_id (null at sentence unit), value
-- example row: 45 | 31 | -0.25
CREATE MACRO neuron_values(component, layer, neuron, model := NULL, split := NULL{root_parameter}) AS TABLE
WITH found AS (
    SELECT
        r.row_id,
        r.word_id,
        r.split AS own_split,
        a.activation::DOUBLE + 0.0 AS value,  -- −0.0 and +0.0 are one value
        bool_or(r.split = 'train') OVER () AS has_train
    FROM {values} AS a
    JOIN rows{root} AS r ON r.row_id = a.row_id
    WHERE r.is_counted
        AND a.activation IS NOT NULL
        AND (model IS NULL OR a.model = model)  -- known before the files are opened, unlike the next line
        AND a.model = chosen_model(component, layer, model)
)
SELECT found.row_id, found.word_id, found.value
FROM found
WHERE in_split(split, found.own_split, found.has_train)
