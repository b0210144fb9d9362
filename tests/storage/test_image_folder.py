"""The image-folder format keeps what a recorder knows and accepts what it does not."""

import json

import numpy as np
import pytest

from geometry.errors import InputError
from storage.image_folder import FrameTable, RecordingCard, SoundCard, read_anchors, write_anchors

OPTIONAL = ("host_ns", "frame_counter", "trigger_id", "timecode_ns")


@pytest.mark.parametrize("present", [(), ("host_ns",), ("trigger_id", "timecode_ns"), OPTIONAL])
def test_a_table_keeps_the_columns_that_there_are(tmp_path, present):
    random = np.random.default_rng(0)
    values = {name: random.integers(-(2**60), 2**60, 5) for name in ("device_ns", *present)}
    FrameTable(tuple("abcde"), **values).write(tmp_path)
    table = FrameTable.read(tmp_path)
    assert table.files == tuple("abcde")
    for name in ("device_ns", *OPTIONAL):
        found = getattr(table, name)
        assert (found is None) == (name not in values)
        assert found is None or (found.dtype == np.int64 and np.array_equal(found, values[name]))


def test_a_card_of_version_1_has_no_sound_and_one_of_version_2_lists_it(tmp_path):
    card = RecordingCard("s", "l", "c", ("a", "b"), (SoundCard("boom", ""), SoundCard("a", "a")))
    card.write(tmp_path)
    assert RecordingCard.read(tmp_path) == card
    values = json.loads((tmp_path / "recording.json").read_text())
    del values["audio"]
    (tmp_path / "recording.json").write_text(json.dumps(values | {"version": 1}))
    assert RecordingCard.read(tmp_path) == RecordingCard("s", "l", "c", ("a", "b"))


@pytest.mark.parametrize("entry", [{"id": "../x", "camera": ""}, {"id": "x", "camera": "z"}, {"id": "x"}, 7, "x", None])
def test_a_wrong_sound_entry_is_refused(tmp_path, entry):
    RecordingCard("s", "l", "c", ("a",)).write(tmp_path)
    values = json.loads((tmp_path / "recording.json").read_text())
    (tmp_path / "recording.json").write_text(json.dumps(values | {"audio": [entry]}))
    with pytest.raises(InputError):
        RecordingCard.read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "sample,device_ns\n", "sample,device_ns\n1,2\n1,3\n", "sample,device_ns\n1,x\n", "a\n1\n"]
)
def test_wrong_anchors_are_refused(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.csv"):
        read_anchors(path)
    write_anchors(path, np.array([[0, 5], [48_000, 10**18]]))
    assert read_anchors(path).tolist() == [[0, 5], [48_000, 10**18]]
