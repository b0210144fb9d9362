"""What every reader owes: inherit `ReaderContract`, name the reader and give it a source."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from capture.readers import READERS, Recording, open_recording
from geometry.errors import InputError


def _open_files() -> set[str]:
    """What this process holds open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except OSError:
            continue
    return {name for name in found if name.startswith("/") and not name.startswith(("/dev", "/proc"))}


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
            everything = (clock.device_ns, clock.host_ns, clock.frame_counter, clock.trigger_id, clock.timecode_ns)
            columns = [column for column in everything if column is not None]
            assert {column.dtype for column in columns} == {np.dtype(np.int64)}
            assert len({column.shape for column in columns}) == 1 and columns[0].ndim == 1

    def test_first_and_last_frames_are_as_the_rig_says_and_reproducible(self, recording: Recording) -> None:
        for camera in recording.rig.cameras:
            for index in {0, len(recording.clocks[camera.id].device_ns) - 1}:
                frame = recording.read_frame(camera.id, index)
                assert frame.shape[:2] == camera.image_size_hw
                if camera.kind == "rgb":
                    assert frame.dtype == np.uint8 and frame.shape[2:] == (3,)
                else:
                    assert frame.dtype == np.uint16 and frame.ndim == 2
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

    def test_frames_in_a_row_are_those_read_one_by_one(self, recording: Recording) -> None:
        recording = pickle.loads(pickle.dumps(recording))
        for camera in recording.rig.cameras:
            count = len(recording.clocks[camera.id].device_ns)
            for frames in (range(min(count, 3)), range(max(0, count - 2), count), range(0)):
                in_a_row = list(recording.frames(camera.id, frames))
                assert len(in_a_row) == len(frames)
                for index, frame in zip(frames, in_a_row, strict=True):
                    assert np.array_equal(frame, recording.read_frame(camera.id, index))

    def test_frames_in_a_row_end_in_an_input_error_where_the_recording_ends(self, recording: Recording) -> None:
        camera_id = recording.rig.ids[0]
        count = len(recording.clocks[camera_id].device_ns)
        with pytest.raises(InputError):
            list(recording.frames(camera_id, range(count - 1, count + 1)))
        with pytest.raises(InputError, match="no_such_camera"):
            list(recording.frames("no_such_camera", range(1)))

    def test_a_jpeg_handed_on_decodes_to_the_frame_and_holds_no_metadata(self, recording: Recording) -> None:
        if recording.read_jpeg is None:
            return
        from storage.jpeg import decode_jpeg, strip_jpeg_metadata

        for camera in recording.rig.cameras:
            for index in {0, len(recording.clocks[camera.id].device_ns) - 1}:
                jpeg = recording.read_jpeg(camera.id, index)
                if jpeg is not None:
                    assert camera.kind == "rgb"
                    assert np.array_equal(decode_jpeg(jpeg), recording.read_frame(camera.id, index))
                    assert strip_jpeg_metadata(jpeg) == jpeg
        with pytest.raises(InputError):
            recording.read_jpeg(recording.rig.ids[0], 1_000_000)

    def test_files_of_frames_are_one_a_frame_and_among_the_sources(self, recording: Recording) -> None:
        assert set(recording.frame_files) <= set(recording.rig.ids)
        for camera_id, files in recording.frame_files.items():
            assert len(files) == len(recording.clocks[camera_id].device_ns)
            assert set(files) <= set(recording.source_files)

    def test_sound_and_inertial_tracks_are_as_long_as_they_say(self, recording: Recording) -> None:
        tracks = [*recording.audio, *recording.imu]
        assert len({track.id for track in tracks}) == len(tracks)
        assert {track.camera for track in tracks} <= {"", *recording.rig.ids}
        for sound in recording.audio:
            assert len(sound.anchors) >= 1 and sound.anchors.dtype == np.int64
            assert (np.diff(sound.anchors, axis=0) > 0).all()
            assert sound.anchors[0, 0] >= 0 and sound.anchors[-1, 0] < sound.sample_count
            read = pickle.loads(pickle.dumps(sound.read))
            last = read(sound.sample_count - 1, sound.sample_count)
            assert last.shape == (1, sound.channel_count) and np.abs(last).max() <= 1
            assert read(0, 0).shape == (0, sound.channel_count)
            with pytest.raises(InputError):
                read(sound.sample_count, sound.sample_count + 1)
        for inertial in recording.imu:
            assert inertial.time_ns.dtype == np.int64 and inertial.values.shape == (len(inertial.time_ns), 7)
            assert (np.diff(inertial.time_ns) >= 0).all()

    def test_no_file_stays_open(self, recording: Recording) -> None:
        before = _open_files()
        for camera in recording.rig.cameras:
            for _ in recording.frames(camera.id, range(min(2, len(recording.clocks[camera.id].device_ns)))):
                break
            recording.read_frame(camera.id, 0)
        gc.collect()
        assert _open_files() <= before

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
        assert found.reader == self.reader and found.notes[0].startswith(f"reader {self.reader}: {reason}")
        named = open_recording(source, self.reader)
        assert named.notes[1:] == found.notes[1:] and "named by the user" in named.notes[0]

    def test_a_missing_source_is_an_input_error(self, tmp_path: Path) -> None:
        assert READERS[self.reader]().recognises(tmp_path / "absent") is None
        with pytest.raises(InputError, match="absent"):
            READERS[self.reader]().read(tmp_path / "absent")
