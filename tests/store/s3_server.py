"""A real S3 API server on loopback (moto's), and an environment in which everything talks to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("s3fs", reason="needs the extra `s3`")
moto_server = pytest.importorskip("moto.server", reason="needs moto[server], of the extra `dev`")

BUCKET = "mill"


@contextmanager
def running_server() -> Iterator[str]:
    """The server's URL; it has a bucket :data:`BUCKET`, and forgets everything at the end.

    Its line for every request is left out: it costs time, and hides what a failed test shows.
    """
    logger = logging.getLogger("werkzeug")
    level = logger.level
    logger.setLevel(logging.WARNING)
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with talking_to(url):
        client = s3_client(url)
        client.create_bucket(Bucket=BUCKET)
        client.close()
    yield url
    server.stop()
    logger.setLevel(level)


def s3_client(url: str) -> Any:
    """A client of boto3's, as an oracle."""
    import boto3

    return boto3.client("s3", endpoint_url=url)


@contextmanager
def talking_to(url: str, attempts: int | None = None) -> Iterator[None]:
    """The environment of this process, and of those it starts, names this server.

    With ``attempts`` the client sends a request so often instead of as set by the store; its pauses are long for tests.
    """
    import fsspec
    from s3fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        if attempts is not None:
            config = {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": attempts}}}
            patch.setenv("FSSPEC_S3", json.dumps(config))
            patch.setitem(fsspec.config.conf, "s3", config)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", url)
        S3FileSystem.clear_instance_cache()
        yield
        S3FileSystem.clear_instance_cache()
