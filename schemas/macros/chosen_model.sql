-- chosen_model: the model that a macro reads: the one asked for, else the only one with this component and layer
-- inputs: of_component and of_layer, null for any; asked, a model, null for the only one
-- output columns: one value, the model's alias; an error names the models to choose from
-- example row: minilm
CREATE MACRO chosen_model(of_component, of_layer, asked) AS (
    SELECT CASE
        WHEN count(*) = 1 THEN min(found.model)
        WHEN count(*) > 1 THEN error(
            'several models: add model := ''' || string_agg(found.model, ''' or ''' ORDER BY found.model) || ''''
        )
        ELSE error(
            'no model ' || coalesce('''' || asked || ''' ', '') || 'with '
            || coalesce('layer ' || of_layer || ' of ', '') || coalesce(of_component, 'rows')
            || '; FROM runs lists models, components and layers'
        )
    END
    FROM (
        SELECT DISTINCT r.model
        FROM runs AS r
        WHERE (of_component IS NULL OR list_contains(r.components, of_component))
            AND (of_layer IS NULL OR list_contains(r.layers, of_layer))
            AND (asked IS NULL OR r.model = asked)
    ) AS found
)
