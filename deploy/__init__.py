"""What a cluster consumes, and the arithmetic of sizing a run."""
