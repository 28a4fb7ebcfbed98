"""Activations in other programs' formats: readers and writers, numpy arrays in and out; nothing here knows a store."""
