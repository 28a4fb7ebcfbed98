-- activations_component: one row of one layer of one model, all neurons of the component side by side
-- inputs: {blocks}, the blocks of activations_block.sql joined by model, layer and row_id
-- output columns: row_id, model, layer, n0000, n0001, … ; row_id joins tokens, rows and labels
-- example row: 45 | minilm | 3 | 0.25 | -1.5 | …
SELECT row_id, model, layer, COLUMNS('^n\d+$')
FROM {blocks}
