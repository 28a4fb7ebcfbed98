-- Size of the corpus per split: sentences and words by the split of the sentence, documents that lie in it as a whole.
-- Input:   none
-- Output:  split, n_documents, n_sentences, n_words
-- Example: train | 150 | 1352 | 34120
with whole as (
    select min(split) as split
    from sentences
    group by document_id
    having count(distinct coalesce(split, '')) = 1
),
documents_of as (select split, count(*) as n_documents from whole group by split),
sentences_of as (
    select split, count(*) as n_sentences, cast(sum(n_words) as bigint) as n_words from sentences group by split
)
select s.split, coalesce(d.n_documents, 0), s.n_sentences, s.n_words
from sentences_of as s
left join documents_of as d on d.split is not distinct from s.split
order by case s.split when 'train' then 0 when 'dev' then 1 when 'test' then 2 else 3 end, s.split
