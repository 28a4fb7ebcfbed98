-- Concepts of a store's rankings.
-- Input:   $models (list of aliases, or null for all)
-- Output:  concept, component; one row per pair
-- Example: upos=NUM | mlp
select distinct concept, component
from rankings
where concept is not null and partner is null and ($models is null or list_contains($models, model))
order by concept, component
