"""Corpora: readers of all formats to one sentence type, concepts over words, labels of rows, and annotation."""
