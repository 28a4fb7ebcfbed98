"""Every error the project raises on purpose, in one tree.

    NeuronmillError                 base: one message that names the argument, the rule, the value and the way out
    ├── UsageError                  a command or config asks for something that cannot be (exit code 2)
    │   ├── ConfigError             a config key: unknown, ill-typed, out of range, or in conflict with an existing run
    │   └── QueryError              SQL of a user: malformed, forbidden, or over its limits
    ├── CorpusError                 a corpus cannot be read as declared; names file:line
    ├── ExchangeError               a file of another program cannot be imported, or not be written as asked
    ├── ConceptError                a concept cannot be compiled: unknown layer, no positives, bad predicate
    ├── ModelError                  a model cannot be loaded or captured as asked
    ├── ActivationError             the model produced a value that must not be stored (NaN, inf, overflow)
    ├── StoreError                  the store cannot be opened, written or trusted
    │   ├── StoreLocationError      there is no store at the path, or something else in its place
    │   ├── SchemaVersionError      the store was written by another schema version
    │   ├── LeaseError              another command is at work on the same run, or has taken it over
    │   └── IntegrityError          a file does not match its receipt
    │       └── TornRecordError     a receipt or a list of files is cut off, or of another shape
    └── IncompleteError             the work ended with shards missing; a rerun resumes (exit code 1)

``exit_code`` is what a job returns when the error reaches it.
"""

from __future__ import annotations


class NeuronmillError(Exception):
    """Base of all deliberate errors; ``str(error)`` is one complete message for a person."""

    exit_code = 1


class UsageError(NeuronmillError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A config key is unknown, ill-typed, out of range, or in conflict with an existing run."""


class QueryError(UsageError):
    """A user's SQL is malformed, forbidden or over its limits."""


class CorpusError(NeuronmillError):
    """The corpus cannot be read as declared; the message begins with ``file:line``."""

    exit_code = 2


class ExchangeError(NeuronmillError):
    """A file of another program cannot be imported as declared, or an export cannot be written; names the file."""

    exit_code = 2


class ConceptError(NeuronmillError):
    """A concept cannot be compiled."""

    exit_code = 2


class ModelError(NeuronmillError):
    """A model cannot be loaded, or has no module for what is to be captured."""

    exit_code = 2


class ActivationError(NeuronmillError):
    """The model produced a value that must not be stored."""


class StoreError(NeuronmillError):
    """The store cannot be opened, written or trusted."""


class StoreLocationError(StoreError):
    """There is no store at the path, or something else in its place."""

    exit_code = 2


class SchemaVersionError(StoreError):
    """The store was written by another schema version."""

    exit_code = 2


class LeaseError(StoreError):
    """Another command is at work on the same run or store, or has taken it over."""


class IntegrityError(StoreError):
    """A file of the store does not match its receipt."""


class TornRecordError(IntegrityError):
    """A receipt or a list of files is cut off, or of another shape.

    ``why`` says so without naming the record, and without the way out: whoever reads on past it has another one.
    """

    def __init__(self, record: str, why: str, way_out: str) -> None:
        super().__init__(record, why, way_out)
        self.why = why

    def __str__(self) -> str:
        record, why, way_out = self.args
        return f"{record} {why}; {way_out}"


class IncompleteError(NeuronmillError):
    """The work ended with shards missing; starting it again resumes."""
