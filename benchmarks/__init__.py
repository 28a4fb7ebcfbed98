"""Benchmarks: each prints its peers, the physical limit and the share reached. `make bench` runs them all."""
