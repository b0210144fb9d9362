"""Files beside a take are written whole, left alone when current, and never over somebody else's."""

from pathlib import Path

import pytest

from geometry.errors import InputError
from workflows.outputs import write_output


def put(place: Path, words: str) -> None:
    place.write_text(words)


def test_written_once_then_left_alone_then_renewed(tmp_path):
    path = tmp_path / "head.glb"
    assert write_output(path, "fit 1", lambda place: put(place, "one"))
    assert not write_output(path, "fit 1", lambda place: put(place, "never"))
    assert path.read_text() == "one"
    assert write_output(path, "fit 2", lambda place: put(place, "two"))
    assert path.read_text() == "two"


def test_a_file_that_somebody_changed_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "head.glb"
    write_output(path, "fit 1", lambda place: put(place, "one"))
    path.write_text("edited by hand")
    with pytest.raises(InputError, match="--overwrite"):
        write_output(path, "fit 2", lambda place: put(place, "two"))
    assert path.read_text() == "edited by hand"
    assert write_output(path, "fit 2", lambda place: put(place, "two"), overwrite=True)


def test_a_writer_that_fails_is_a_clear_error(tmp_path):
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="space"):
        write_output(tmp_path / "head.glb", "fit 1", full)
