"""What every reader owes: inherit `ReaderContract`, name the reader and give it a source."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from capture.readers import READERS, Recording, open_recording
from geometry.errors import InputError


class ReaderContract:
    reader: str
    """Name in READERS."""

    @pytest.fixture
    def source(self) -> Path:
        """A recording of this reader's kind; at least one camera, at least one frame."""
        raise NotImplementedError

    @pytest.fixture
    def recording(self, source: Path) -> Recording:
        return READERS[self.reader]().read(source)

    def test_it_says_what_was_read(self, source: Path, recording: Recording) -> None:
        assert recording.reader == self.reader
        assert Path(recording.address).is_absolute() and Path(recording.address).samefile(source)
        assert all(note.strip() for note in recording.notes)

    def test_source_files_exist_once_and_belong_to_the_source(self, recording: Recording) -> None:
        files = [path.resolve() for path in recording.source_files]
        assert files and len(set(files)) == len(files)
        assert all(path.is_file() and path.is_relative_to(Path(recording.address).resolve()) for path in files)

    def test_every_camera_has_a_clock_of_int64(self, recording: Recording) -> None:
        assert recording.rig.ids and set(recording.clocks) == set(recording.rig.ids)
        for clock in recording.clocks.values():
            columns = [column for column in (clock.device_ns, clock.host_ns, clock.frame_counter) if column is not None]
            assert {column.dtype for column in columns} == {np.dtype(np.int64)}
            assert len({column.shape for column in columns}) == 1 and columns[0].ndim == 1

    def test_first_and_last_frames_are_as_the_rig_says_and_reproducible(self, recording: Recording) -> None:
        for camera in recording.rig.cameras:
            for index in {0, len(recording.clocks[camera.id].device_ns) - 1}:
                frame = recording.read_frame(camera.id, index)
                assert frame.shape[:2] == camera.image_size_hw
                if camera.kind == "depth":
                    assert frame.dtype == np.uint16 and frame.ndim == 2
                else:
                    assert frame.dtype == np.uint8 and frame.shape[2:] == (3,)
                assert np.array_equal(frame, recording.read_frame(camera.id, index))

    def test_depth_is_in_metres_times_its_unit(self, recording: Recording) -> None:
        for camera in recording.rig.depth:
            frame = recording.read_frame(camera.id, 0)
            assert (frame > 0).any()
            assert camera.depth_unit_m is not None
            assert 0.1 < np.median(frame[frame > 0]) * camera.depth_unit_m < 10

    def test_other_processes_can_read_frames(self, recording: Recording) -> None:
        read_frame = pickle.loads(pickle.dumps(recording.read_frame))
        camera_id = recording.rig.ids[0]
        assert np.array_equal(read_frame(camera_id, 0), recording.read_frame(camera_id, 0))

    @pytest.mark.parametrize("index", [-1, 1_000_000])
    def test_a_frame_that_does_not_exist_is_an_input_error(self, recording: Recording, index: int) -> None:
        with pytest.raises(InputError):
            recording.read_frame(recording.rig.ids[0], index)

    def test_a_camera_that_does_not_exist_is_an_input_error(self, recording: Recording) -> None:
        with pytest.raises(InputError, match="no_such_camera"):
            recording.read_frame("no_such_camera", 0)

    def test_it_is_recognised_and_the_notes_say_why(self, source: Path) -> None:
        reason = READERS[self.reader]().recognises(source)
        assert reason
        found = open_recording(source)
        assert found.reader == self.reader and found.notes[0] == f"reader {self.reader}: {reason}"
        named = open_recording(source, self.reader)
        assert named.notes[1:] == found.notes[1:] and "named by the user" in named.notes[0]

    def test_a_missing_source_is_an_input_error(self, tmp_path: Path) -> None:
        assert READERS[self.reader]().recognises(tmp_path / "absent") is None
        with pytest.raises(InputError, match="absent"):
            READERS[self.reader]().read(tmp_path / "absent")
