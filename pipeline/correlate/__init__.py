"""Correlation of neurons: pure functions of co-moments, from clusters inside a model to similarities of several."""
