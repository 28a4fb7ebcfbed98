-- How alike each layer is to layers of the same and of other models.
-- Input:   $run
-- Output:  model, partner_model, partner_store, measure, component, layer, partner_component, partner_layer, value, null_value,
--          n_rows, params
-- Example: minilm | mpnet | null | cka | resid | 3 | resid | 6 | 0.61 | 0.02 | 25000 | {"seed": 0}
select
    model, partner_model, partner_store, measure, component, layer, partner_component, partner_layer, value, null_value,
    n_rows, params
from layer_similarity
where run_id = $run
order by partner_model, partner_store nulls first, measure, component, layer, partner_component, partner_layer, params
