-- Concepts of a run's rankings with their definitions.
-- Input:   $run
-- Output:  concept, kind, definition, label_on, n_words, n_rows (all splits); null where `concepts` lacks the name
-- Example: upos=NUM | layer | upos=NUM | all | 1210 | 1644
with ranked as (
    select distinct concept from rankings where run_id = $run and concept is not null and partner is null
),
described as (
    select
        concept, any_value(kind) as kind, any_value(definition) as definition, any_value(label_on) as label_on,
        max(n_words) as n_words, max(n_rows) as n_rows
    from concepts
    group by concept
)
select concept, kind, definition, label_on, n_words, n_rows
from ranked left join described using (concept)
order by concept
