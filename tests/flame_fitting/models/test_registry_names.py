"""Models by name or by file: what is neither is refused before anything is computed."""

import pytest

from flame_fitting.models.registry import model_name
from geometry.errors import InputError


def test_a_file_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.npz").write_bytes(b"")
    assert model_name("anny") == "anny"
    assert model_name("head.npz") == str(tmp_path / "head.npz")


@pytest.mark.parametrize("name", ["smurf", "absent.npz", "notes.txt"])
def test_what_is_no_model_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError):
        model_name(name)
