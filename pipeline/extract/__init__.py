"""Models, tokenisation, batches, hooks and pooling: the home of torch and transformers.

Beside it only the two modules that compute on a GPU, ``device_sweep`` and ``device_products``, import torch.
"""
