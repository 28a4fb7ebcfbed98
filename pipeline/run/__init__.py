"""Where work runs, and the stages: plan, dump, and the folds of statistics, search and contexts.

A stage lists its tasks, hands them to an executor with a :class:`~pipeline.run.work.Job`, and folds what the tasks
left on disk. What one task does is the same function on every executor, so the bytes are the same.
"""
