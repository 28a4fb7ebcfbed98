-- Clusterings of a run that have clusters of two neurons and more.
-- Input:   $run
-- Output:  linkage, signed, threshold, number of such clusters, neurons in them, neurons in all
-- Example: average | false | 0.3 | 410 | 1204 | 11904
select
    linkage, signed, threshold, count(distinct cluster) filter (where size >= 2), count(*) filter (where size >= 2),
    count(*)
from clusters
where run_id = $run
group by linkage, signed, threshold
having count(*) filter (where size >= 2) > 0
order by linkage, signed, threshold
