-- Contexts of the neurons that neurons.sql returns, in the tail their sign points to; a word counts once.
-- Input:   $run, $method, $params, $concept (null: all), $n_neurons, $n_contexts
-- Output:  component, layer, neuron, tail, value, document, sentence, words, values, focus
-- Example: resid | 4 | 63 | top | 6.21 | news-17 | 4 | [about, 300, people] | [0.1, 6.2, -0.3] | 1
with selected as (
    select distinct run_id, model, component, layer, neuron, case when sign < 0 then 'bottom' else 'top' end as tail
    from rankings
    where run_id = $run and method = $method and params = $params and concept is not null and partner is null
        and ($concept is null or concept = $concept) and isfinite(score) and rank <= $n_neurons
),
once as (
    select c.*
    from contexts c
    join selected using (run_id, model, component, layer, neuron, tail)
    qualify row_number() over (
        partition by c.component, c.layer, c.neuron, c.tail, c.sentence_id, c.word_id order by c.rank
    ) = 1
),
first_ones as (
    select * from once
    qualify row_number() over (partition by component, layer, neuron, tail order by rank) <= $n_contexts
)
select
    f.component, f.layer, f.neuron, f.tail, f.value, d.document, s.sentence, f.words, f."values", f.focus
from first_ones f
left join documents d using (document_id)
left join sentences s on s.sentence_id = f.sentence_id
order by f.component, f.layer, f.neuron, f.tail, f.rank
