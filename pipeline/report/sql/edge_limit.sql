-- How many pairs of neurons were kept, and the weakest of them.
-- Input:   $run
-- Output:  number of pairs, smallest |r| (null without pairs)
-- Example: 51230 | 0.5001
select count(*), min(abs(r)) from correlation_edges where run_id = $run
