-- sparse_values: one row and its activation, of a component that was dumped with mode topk or threshold: 0 where no
-- value is stored
-- inputs: component, layer, neuron
-- output columns: row_id, model, activation
-- example row: 45 | minilm | 2.25
CREATE MACRO sparse_values(component, layer, neuron{root_parameter}) AS TABLE
SELECT
    r.row_id,
    s.model,
    CASE
        WHEN neuron >= 0 AND neuron < w.n_neurons THEN coalesce(v.value, 0)
        ELSE error('neuron ' || neuron || ' is not among the ' || w.n_neurons || ' of ' || component)::FLOAT
    END AS activation
FROM rows{root} AS r
JOIN shards AS s ON r.row_id >= s.first_row AND r.row_id < s.first_row + s.n_rows
JOIN {sparse_widths} AS w(model, component, n_neurons) ON w.model = s.model AND w.component = component
LEFT JOIN (
    SELECT t.row_id, t.model, t.value
    FROM {sparse} AS t
    WHERE t.layer = layer AND t.neuron = neuron
) AS v ON v.row_id = r.row_id AND v.model = s.model
