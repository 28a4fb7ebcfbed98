"""The command line: one thin command per job. Nothing else in the project prints."""
