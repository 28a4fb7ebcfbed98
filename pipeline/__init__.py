"""The library: corpus, extraction, store, statistics, search, runs and the report. It never prints."""
