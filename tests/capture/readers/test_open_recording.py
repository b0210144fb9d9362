"""Choosing a reader."""

from pathlib import Path

import pytest

from capture.readers import READERS, open_recording
from geometry.errors import InputError


def test_an_unknown_reader_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"layout, truedepth, .*image_folder.*'no_such_reader'"):
        open_recording(tmp_path, "no_such_reader")


@pytest.mark.parametrize("reader", ["auto", *READERS])
def test_nothing_empty_folder_and_empty_file_are_refused_by_name(tmp_path: Path, reader: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.heic").touch()
    for source, words in (("absent", "does not exist"), ("folder", "empty folder"), ("file.heic", "empty file")):
        with pytest.raises(InputError, match=words):
            open_recording(tmp_path / source, reader)
    with pytest.raises(InputError):
        open_recording(Path("null\0byte"), reader)


def test_a_file_that_no_reader_knows_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "notes.txt"
    source.write_text("not a recording")
    with pytest.raises(InputError, match="none of them does"):
        open_recording(source)
