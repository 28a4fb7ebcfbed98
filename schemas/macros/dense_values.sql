-- dense_values: one row and its activation, of a component that has one column per neuron
-- inputs: component, layer, neuron
-- output columns: row_id, model, activation
-- example row: 45 | minilm | -0.25
CREATE MACRO dense_values(component, layer, neuron{root_parameter}) AS TABLE
SELECT t.row_id, t.model, COLUMNS(format('^n{:04d}$', neuron)) AS activation
FROM {activations} AS t
WHERE t.layer = layer
