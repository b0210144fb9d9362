"""A real S3 server on this machine, spoken to over HTTP as any other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.request import Request, urlopen

import s3fs
from moto.server import ThreadedMotoServer

from storage import remote_place


@contextmanager
def s3_server(bucket: str = "takes") -> Iterator[str]:
    """Run it on a free port, this process and its children pointed at it; gives the bucket's URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        with patch.dict(os.environ, settings):
            _forget_connections()
            _forget_buckets(f"http://{host}:{port}")
            s3fs.S3FileSystem().mkdir(bucket)
            yield f"s3://{bucket}"
    finally:
        server.stop()
        _forget_connections()


def _forget_buckets(endpoint: str) -> None:
    """moto keeps its buckets in the process, so a second server would hold the first one's."""
    with urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")) as answer:
        answer.read()


def _forget_connections() -> None:
    s3fs.S3FileSystem.clear_instance_cache()
    remote_place._file_system.cache_clear()


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """How many requests of each kind were sent meanwhile."""
    counts: Counter[str] = Counter()
    original = s3fs.S3FileSystem._call_s3

    async def counting(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        counts[method] += 1
        return await original(self, method, *arguments, **options)

    with patch.object(s3fs.S3FileSystem, "_call_s3", counting):
        yield counts
