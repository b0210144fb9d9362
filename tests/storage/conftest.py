"""A bucket for the tests of remote takes."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.storage.s3_server import s3_server


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a real S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def s3_path(bucket: str) -> str:
    """A URL where nothing is yet."""
    return f"{bucket}/{uuid4().hex}.zarr"
