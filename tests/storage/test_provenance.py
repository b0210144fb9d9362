"""The commit is named where it can be known, and asking never fails."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import provenance
from storage.documents import digest
from storage.provenance import Provenance, commit_id, digest_of_file, digest_of_files, tool_version


@pytest.fixture(autouse=True)
def _no_memory() -> Iterator[None]:
    commit_id.cache_clear()
    yield
    commit_id.cache_clear()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_names_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit_id() == tool_version()
    commit_id.cache_clear()
    monkeypatch.delenv("GIT_DIR")
    _git(tmp_path, "init", "-q")
    assert commit_id() == tool_version()
    commit_id.cache_clear()
    (tmp_path / "code.py").write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "one")
    head = _git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit_id() == head
    commit_id.cache_clear()
    (tmp_path / "code.py").write_text("2")
    assert commit_id() == f"{head}-dirty"


def test_no_git_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("nonsense")
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    assert commit_id() == tool_version()
    commit_id.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_id() == tool_version()
    assert Provenance({}, {}).commit and Provenance({}, {}).tool_version


def test_digests_follow_contents_and_names_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    files = [tmp_path / "a", tmp_path / "b"]
    before = digest_of_files(tmp_path, files)
    assert before == digest_of_files(tmp_path, reversed(files))
    (tmp_path / "b").rename(tmp_path / "c")
    assert digest_of_files(tmp_path, [tmp_path / "a", tmp_path / "c"]) != before
    assert digest_of_file(tmp_path / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1}) != digest({"a": 1})
