"""Trying again: which errors of a remote file system are worth another attempt, and for how long.

A server that answers 503, a dropped connection or a body that ends too early is worth it; a wrong bucket, missing
rights or a condition that does not hold is not. Retries happen in two layers, each with a bound: the client's own, of
single requests (:func:`client_options`; a part of a large upload is sent again alone), and :func:`persist` around a
whole operation, until :func:`patience` seconds have passed.
"""

from __future__ import annotations

import importlib
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from schemas.errors import ConfigError

#: Environment variable: seconds after which an operation on a store that cannot be reached is given up.
PATIENCE = "NEURONMILL_STORE_PATIENCE"

_DEFAULT_PATIENCE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Of one request; s3fs would wait 5 s, 15 s and try 5 × 5 times.
_S3_CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
_S3_PROTOCOLS = frozenset({"s3", "s3a"})
#: Of clients that may not be installed; all other errors are `OSError`.
_CLIENT_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.parsers", "ResponseParserError"),
    ("aiohttp", "ClientError"),
)
_PASSING_CLIENT_ERRORS = (
    ("botocore.exceptions", "EndpointConnectionError"),  # refused: the server starts again, for instance
    ("botocore.exceptions", "ConnectTimeoutError"),
    ("botocore.exceptions", "ProxyConnectionError"),
    ("botocore.exceptions", "HTTPClientError"),
    ("botocore.exceptions", "IncompleteReadError"),
    ("botocore.exceptions", "ResponseStreamingError"),
    ("botocore.parsers", "ResponseParserError"),
    ("aiohttp", "ClientError"),
)
_REFUSED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})

T = TypeVar("T")


def _known(names: tuple[tuple[str, str], ...]) -> tuple[type[Exception], ...]:
    found = []
    for module, name in names:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)


#: What a file system raises where something is wrong outside.
ERRORS: tuple[type[Exception], ...] = (OSError, *_known(_CLIENT_ERRORS))
_PASSING: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *_known(_PASSING_CLIENT_ERRORS))


def is_s3(protocol: str | tuple[str, ...]) -> bool:
    """Whether this is fsspec's name (or names) of S3."""
    return not _S3_PROTOCOLS.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)


def client_options(protocol: str) -> dict[str, Any]:
    """Options of the file system of ``protocol``: timeouts and retries of single requests and no kept listings, for S3.

    A kept listing says of a file that it is not there, although it was created since, with the answer lost.
    What fsspec is configured with (``FSSPEC_S3='{"config_kwargs": {…}}'`` or a file) takes precedence.
    """
    if not is_s3(protocol):
        return {}
    configured = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"config_kwargs": {**_S3_CLIENT, **configured}, "use_listings_cache": False}


def patience() -> float:
    """Seconds for which an operation is tried: ``NEURONMILL_STORE_PATIENCE``, 60 by default."""
    text = os.environ.get(PATIENCE, "")
    try:
        seconds = float(text) if text else _DEFAULT_PATIENCE
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"environment variable {PATIENCE} must be a number of seconds, 0 or more; it is {text!r}")
    return seconds


def persist(operation: Callable[[bool], T]) -> T:
    """What ``operation(is_again)`` returns, tried again for :func:`patience` seconds while its errors may pass.

    ``is_again`` is true from the second attempt on: an earlier one may have done its work, with only the answer lost.
    The last error is raised as it is. Pauses double from 0.1 s to 5 s, each shortened at random by up to a half, so
    that many workers do not come back at once.
    """
    deadline = time.monotonic() + patience()
    pause = _FIRST_PAUSE
    is_again = False
    while True:
        try:
            return operation(is_again)
        except ERRORS as error:
            left = deadline - time.monotonic()
            if left <= 0 or not may_pass(error):
                raise
        time.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE)
        is_again = True


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, _PASSING):
        return True
    status = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status in (408, 429) or _code(error) in _CONFLICTS


def is_refused(error: BaseException) -> bool:
    """Whether an S3 server refused a conditional write: the condition does not hold, or another write is on its way."""
    return _code(error) in _REFUSED


def _code(error: BaseException) -> str:
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _answer(error: BaseException) -> dict[str, Any]:
    """The S3 server's answer behind an error; empty if there was none."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
