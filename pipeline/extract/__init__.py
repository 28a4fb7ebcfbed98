"""Models, tokenisation, batches, hooks and pooling: the only home of torch and transformers."""
