"""Layouts: any tree by its rules, and a refusal for every rule that does not hold."""

import os
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.readers import open_recording
from capture.readers.layout import read_layout, recognises_layout
from capture.readers.path_pattern import PathPattern
from capture.readers.recording import Recording
from geometry.errors import InputError
from storage.jpeg import decode_jpeg
from tests.capture.readers.contract import ReaderContract
from tests.capture.synthetic_recording import jpeg_bytes, png_bytes

HEADER = "layout: 1\nsubject_id: subject-7\nlicence: CC0-1.0\nconsent: research\nslate: visemes\ntake_number: 2\n"
STUDIO = (
    HEADER
    + """streams:
  - kind: rgb
    pictures: "{module}/rgb_{side}/{frame:06d}_{device_us}.jpg"
    camera: "{module}_{side}"
    module: "{module}"
  - kind: depth
    pictures: "{module}/depth/{frame}.png"
    camera: "{module}_depth"
    module: "{module}"
    depth_unit_m: 0.001
    times: {table: "times_{module}.csv", frame: n, device_s: t, host_ms: arrival, trigger_id: trigger}
  - kind: infrared
    pictures: "{module}/ir/{frame}.png"
    camera: "{module}_ir"
    module: "{module}"
    rate_hz: 30
  - kind: light_field
    pictures: lytro.png
    camera: lytro
"""
)
SIZE_HW = (24, 32)


def colour(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8)


def counts(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(600, 900, SIZE_HW).astype(np.uint16)


def save(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def write_studio(folder: Path, modules: tuple[str, ...] = ("M1", "M2", "M10"), frames: int = 3) -> Path:
    for place, module in enumerate(modules):
        lines = ["n,t,arrival,trigger"]
        for frame in range(frames):
            for side in "LR":
                path = folder / module / f"rgb_{side}" / f"{frame:06d}_{1_000_000 + 33_333 * frame}.jpg"
                save(path, jpeg_bytes(colour(1000 * place + 10 * frame + ord(side))))
            save(folder / module / "depth" / f"{frame}.png", png_bytes(counts(1000 * place + frame)))
            save(folder / module / "ir" / f"{frame}.png", png_bytes(counts(7000 * place + frame)))
            lines.append(f"{frame},{1.5 + frame / 30:.9f},{100.25 + 33.3 * frame:.2f},{50 + frame}")
        save(folder / f"times_{module}.csv", "\n".join(lines) + "\n")
    save(folder / "lytro.png", png_bytes(counts(9)))
    save(folder / "layout.yaml", STUDIO)
    return folder


def write_plain(folder: Path, stream: str, files: Mapping[str, bytes | str]) -> Path:
    save(folder / "layout.yaml", f"layout: 1\nstreams:\n  - {stream}\n")
    for name, data in files.items():
        save(folder / name, data)
    return folder


PICTURE = png_bytes(colour(1))
NUMBERED = {f"cam/{frame}.png": PICTURE for frame in (0, 1, 2, 4)}
COUNTED = "{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: 25}"


class TestLayout(ReaderContract):
    reader = "layout"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_studio(tmp_path / "recording")


def _refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_layout(folder)
    return str(caught.value)


def _clock(recording: Recording, camera: str = "cam") -> list[int]:
    return recording.clocks[camera].device_ns.tolist()


def test_cameras_times_and_pixels_are_those_of_the_tree(tmp_path: Path) -> None:
    recording = read_layout(write_studio(tmp_path))
    assert recording.rig.ids == (
        *("M1_L", "M1_R", "M2_L", "M2_R", "M10_L", "M10_R", "M1_depth", "M2_depth", "M10_depth"),
        *("M1_ir", "M2_ir", "M10_ir", "lytro"),
    )
    assert [recording.rig[name].module for name in ("M2_L", "M10_depth", "lytro")] == ["M2", "M10", "lytro"]
    assert (recording.subject_id, recording.slate, recording.take_number) == ("subject-7", "visemes", "2")
    assert (recording.licence, recording.consent) == ("CC0-1.0", "research")
    assert np.array_equal(recording.read_frame("M10_depth", 2), counts(2002))
    assert np.array_equal(recording.read_frame("M2_ir", 1), counts(7001))
    assert np.array_equal(recording.read_frame("lytro", 0), counts(9))
    assert np.array_equal(recording.read_frame("M2_R", 1), decode_jpeg(jpeg_bytes(colour(1000 + 10 + ord("R")))))
    assert _clock(recording, "M1_R") == [1_000_000_000, 1_033_333_000, 1_066_666_000]
    depth = recording.clocks["M2_depth"]
    assert depth.device_ns.tolist() == [1_500_000_000, 1_533_333_333, 1_566_666_667]
    assert depth.host_ns is not None and depth.host_ns.tolist() == [100_250_000, 133_550_000, 166_850_000]
    assert depth.trigger_id is not None and depth.trigger_id.tolist() == [50, 51, 52]
    assert _clock(recording, "M1_ir") == [0, 33_333_333, 66_666_667]
    notes = " | ".join(recording.notes)
    assert "3 cameras (M1_ir to M10_ir): times are counted at 30 Hz, not measured" in notes
    assert "lytro: a single picture without a time" in notes and "uncalibrated" in notes
    assert recording.rig["M1_L"].rate_hz == pytest.approx(30.0, abs=0.01)
    assert len(recording.source_files) == len(set(recording.source_files)) == 3 * 4 * 3 + 1 + 3 + 1


def test_reading_opens_one_picture_a_camera(tmp_path: Path) -> None:
    write_studio(tmp_path)
    for path in [*tmp_path.glob("M*/*/[12]*.png"), *tmp_path.glob("M*/*/00000[12]*.jpg")]:
        path.write_bytes(b"no picture")
    recording = read_layout(tmp_path)
    with pytest.raises(InputError, match=re.escape("depth/2.png")):
        recording.read_frame("M2_depth", 2)


def test_a_layout_of_another_name_is_named_itself(tmp_path: Path) -> None:
    write_studio(tmp_path)
    (tmp_path / "layout.yaml").rename(tmp_path / "studio.yml")
    assert recognises_layout(tmp_path) is None and recognises_layout(tmp_path / "studio.yml")
    recording = open_recording(tmp_path / "studio.yml")
    assert recording.reader == "layout" and recording.address == str(tmp_path)
    assert len(recording.rig.cameras) == 13


def test_missing_numbers_stay_gaps_and_unmatched_files_are_counted(tmp_path: Path) -> None:
    recording = read_layout(write_plain(tmp_path, COUNTED, NUMBERED | {"notes.txt": "x", "cam/a.jpg": "y"}))
    assert _clock(recording) == [0, 40_000_000, 80_000_000, 160_000_000]
    notes = " | ".join(recording.notes)
    assert "1 numbers missing" in notes and "2 files that the layout does not name" in notes and "cam/a.jpg" in notes


def test_frames_are_ordered_by_number_and_not_by_name(tmp_path: Path) -> None:
    files = {f"{frame}.png": png_bytes(colour(frame)) for frame in (2, 10, 1)}
    stream = "{kind: rgb, pictures: '{frame}.png', camera: only, rate_hz: 1}"
    recording = read_layout(write_plain(tmp_path, stream, files))
    assert [np.array_equal(recording.read_frame("only", i), colour(s)) for i, s in enumerate((1, 2, 10))] == [True] * 3


def test_a_width_is_the_least_number_of_digits(tmp_path: Path) -> None:
    files = {"000001.png": PICTURE, "02.png": PICTURE, "1000000.png": PICTURE}
    stream = "{kind: rgb, pictures: '{frame:06d}.png', camera: only, rate_hz: 1}"
    recording = read_layout(write_plain(tmp_path, stream, files))
    assert [path.name for path in recording.frame_files["only"]] == ["000001.png", "1000000.png"]


@pytest.mark.parametrize(
    ("place", "text", "nanoseconds"),
    [("device_ns", "9007199254740993", 9007199254740993), ("device_ms", "12", 12_000_000), ("host_us", "7", 7000)],
)
def test_times_in_names_are_exact(tmp_path: Path, place: str, text: str, nanoseconds: int) -> None:
    stream = f"{{kind: rgb, pictures: '{{{place}}}.png', camera: only}}"
    recording = read_layout(write_plain(tmp_path, stream, {f"{text}.png": PICTURE}))
    assert _clock(recording, "only") == [nanoseconds]
    assert any("arrival times stand for it" in note for note in recording.notes) == place.startswith("host")


TABLE = "{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', times: %s}"


def test_one_table_of_all_cameras_by_picture(tmp_path: Path) -> None:
    times = "{table: all.csv, separator: ';', camera: id, picture: file, device_ns: t, frame_counter: c}"
    table = "c;id;file;t\n7;b;b/1.png;300\n5;a;0.png;100\n\n6;a;1.png;200\n"
    files = {
        "a/0.png": PICTURE,
        "a/1.png": PICTURE,
        "a/2.png": PICTURE,
        "b/1.png": PICTURE,
        "all.csv": "\ufeff" + table,
    }
    recording = read_layout(write_plain(tmp_path, TABLE % times, files))
    assert _clock(recording, "a") == [100, 200] and _clock(recording, "b") == [300]
    counter = recording.clocks["a"].frame_counter
    assert counter is not None and counter.tolist() == [5, 6]
    assert any("1 pictures that it does not name" in note for note in recording.notes)


def test_lines_without_a_key_are_in_the_pictures_order(tmp_path: Path) -> None:
    times = "{table: '{camera}.csv', device_s: t, timecode_s: tc}"
    files = NUMBERED | {"cam.csv": "t,tc\n0.5,36000.04\n-1,1\n1700000000.123456789,2\n3,3\n"}
    recording = read_layout(write_plain(tmp_path, TABLE % times, files))
    assert _clock(recording) == [500_000_000, -1_000_000_000, 1_700_000_000_123_456_789, 3_000_000_000]
    timecode = recording.clocks["cam"].timecode_ns
    assert timecode is not None and timecode[0] == 36_000_040_000_000


@pytest.mark.parametrize(
    ("times", "table", "words"),
    [
        ("{table: '{camera}.csv', device_s: t}", "t\n1\n2\n", "2 lines for 4 pictures"),
        ("{table: '{camera}.csv', device_s: t}", "s\n1\n", "one column 't'"),
        ("{table: '{camera}.csv', device_s: t}", "t,t\n1,1\n", "one column 't'"),
        ("{table: '{camera}.csv', device_s: t}", "t\n1e9\n2\n3\n4\n", "line 2"),
        ("{table: '{camera}.csv', device_s: t}", "t\n" + "9" * 400 + "\n2\n3\n4\n", "line 2"),
        ("{table: '{camera}.csv', device_s: t}", "t\n9999999999999\n2\n3\n4\n", "64 bits"),
        ("{table: '{camera}.csv', frame: n, device_s: t}", "n,t\n0,1\n0,2\n", "twice"),
        ("{table: '{camera}.csv', frame: n, device_s: t}", "n,t\n0,1\n9,2\n", "none of 9"),
        ("{table: '{camera}.csv', frame: n, device_s: t}", "n,t\n0\n", "2 values in line 2"),
        ("{table: '{camera}.csv', frame: n, device_s: t}", "n,t\n", "none in"),
        ("{table: all.csv, device_s: t}", "", "camera column"),
        ("{table: absent.csv, camera: c, device_s: t}", "", "no file"),
        ("{table: '../x.csv', camera: c, device_s: t}", "", "inside the folder"),
        ("{table: '{frame}.csv', device_s: t}", "", "frame"),
        ("{table: '{camera}.csv', device_s: t, device_ns: u}", "", "one column of device"),
        ("{table: '{camera}.csv', frame_counter: t}", "", "a column of times"),
        ("{table: '{camera}.csv', device_s: t, separator: ';;'}", "", "separator"),
    ],
)
def test_tables_that_contradict_the_pictures_are_refused(tmp_path: Path, times: str, table: str, words: str) -> None:
    assert re.search(words, _refusal(write_plain(tmp_path, TABLE % times, NUMBERED | {"cam.csv": table})))


def test_a_table_that_names_a_camera_without_pictures_is_refused(tmp_path: Path) -> None:
    times = "{table: all.csv, camera: id, picture: file, device_ns: t}"
    files = {"a/0.png": PICTURE, "all.csv": "id,file,t\na,0.png,1\nlost,0.png,1\n"}
    assert "none of lost" in _refusal(write_plain(tmp_path, TABLE % times, files))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("{kind: rgb, pictures: 'other/{frame}.png', camera: x, rate_hz: 1}", r"match other/\{frame\}.png"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}'}", "rate_hz"),
        ("{kind: rgb, pictures: '{camera}/{n}.png', camera: '{camera}', rate_hz: 1}", "name of its own"),
        ("{kind: rgb, pictures: '{a}/{b}.png', camera: '{a}{b}', rate_hz: 1, module: '{c}'}", "module"),
        ("{kind: rgb, pictures: '/etc/{frame}.png', camera: x, rate_hz: 1}", "inside the folder"),
        ("{kind: rgb, pictures: '../{frame}.png', camera: x, rate_hz: 1}", "inside the folder"),
        ("{kind: rgb, pictures: 'a\\\\{frame}.png', camera: x, rate_hz: 1}", "slashes"),
        ("{kind: rgb, pictures: '{a}_{b}_{c}_{d}.png', camera: '{a}', rate_hz: 1}", "at most 3"),
        ("{kind: rgb, pictures: '{cam:06d}/{frame}.png', camera: '{cam}', rate_hz: 1}", "width only for numbers"),
        ("{kind: rgb, pictures: '{Cam!r}/{frame}.png', camera: x, rate_hz: 1}", "places such as"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{frame}', rate_hz: 1}", "camera"),
        ("{kind: depth, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: 1}", "depth unit"),
        ("{kind: depth, pictures: '{c}/{frame}.png', camera: '{c}', rate_hz: 1, depth_unit_m: 0.001}", "16-bit grey"),
        ("{kind: rgb, pictures: '{c}/{frame}.png', camera: '{c}', rate_hz: 1, depth_unit_m: 0.001}", "only of depth"),
        ("{kind: xray, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: 1}", "xray"),
        ("{kind: rgb, camera: x}", "either pictures or videos"),
        ("{kind: rgb, videos: '{camera}/{frame}.mp4', camera: x}", "tell cameras apart"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: -1}", "above 0"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: nan}", "above 0"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', rate_hz: 1e6}", "at most"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', camera: '{camera}', rat: 1}", "rat"),
        ("{kind: rgb, pictures: '{camera}/{frame}.png', rate_hz: 1}", "camera"),
    ],
)
def test_rules_that_cannot_hold_are_refused(tmp_path: Path, stream: str, words: str) -> None:
    assert re.search(words, _refusal(write_plain(tmp_path, stream, NUMBERED)))


def test_a_file_of_two_streams_and_a_name_of_two_cameras_are_refused(tmp_path: Path) -> None:
    two = f"{COUNTED}\n  - {{kind: rgb, pictures: 'cam/{{frame}}.png', camera: other, rate_hz: 1}}"
    assert "both match" in _refusal(write_plain(tmp_path / "a", two, NUMBERED))
    two = f"{COUNTED}\n  - {{kind: rgb, pictures: 'top_{{frame}}.png', camera: cam, rate_hz: 1}}"
    assert "each camera in one stream" in _refusal(write_plain(tmp_path / "b", two, NUMBERED | {"top_0.png": PICTURE}))
    twice = write_plain(tmp_path / "c", COUNTED, {"cam/1.png": PICTURE, "cam/01.png": PICTURE})
    assert "one picture of cam for each frame" in _refusal(twice)


def test_frame_numbers_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    assert "64 bits" in _refusal(write_plain(tmp_path / "a", COUNTED, {f"cam/{'9' * 30}.png": PICTURE}))
    assert "292 years" in _refusal(write_plain(tmp_path / "b", COUNTED, {f"cam/{'9' * 18}.png": PICTURE}))


def test_links_that_leave_the_folder_or_loop_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    save(outside / "0.png", PICTURE)
    folder = write_plain(tmp_path / "a", COUNTED, NUMBERED)
    (folder / "cam" / "9.png").symlink_to(outside / "0.png")
    assert "stay in the folder" in _refusal(folder)
    (folder / "cam" / "9.png").unlink()
    (folder / "cam2").symlink_to(outside, target_is_directory=True)
    assert "stay in the folder" in _refusal(folder)
    (folder / "cam2").unlink()
    (folder / "cam" / "again").symlink_to(folder, target_is_directory=True)
    assert "loop" in _refusal(folder)
    (folder / "cam" / "again").unlink()
    (folder / "x").symlink_to(folder / "y")
    (folder / "y").symlink_to(folder / "x")
    assert "links to files" in _refusal(folder)
    (folder / "x").unlink()
    (folder / "y").unlink()
    (folder / "cam" / "9.png").symlink_to(folder / "cam" / "0.png")
    assert len(_clock(read_layout(folder))) == 5


@pytest.mark.parametrize("key", ["calibration", "sound"])
def test_named_files_stay_in_the_folder(tmp_path: Path, key: str) -> None:
    save(tmp_path / "rig.json", "{}")
    folder = write_plain(tmp_path / "a", COUNTED, NUMBERED)
    for name in ("../rig.json", str(tmp_path / "rig.json"), "absent.json"):
        value = name if key == "calibration" else f"[{name}]"
        save(folder / "layout.yaml", f"layout: 1\n{key}: {value}\nstreams:\n  - {COUNTED}\n")
        assert "rig.json" in _refusal(folder) or "absent.json" in _refusal(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layout: 2\nstreams: []\n", "layout: 1"),
        ("layout: 1\nstreams: []\n", "1 to 1000 streams"),
        ("layout: 1\nstreams:\n  - a\n", "keys and values"),
        (f"layout: 1\nx: &a [1]\ny: *a\nstreams:\n  - {COUNTED}\n", "anchor"),
        (f"layout: 1\nunknown: 1\nstreams:\n  - {COUNTED}\n", "unknown"),
        (f"layout: 1\nsubject_id: [a]\nstreams:\n  - {COUNTED}\n", "subject_id"),
        ("\t- nonsense: [", "YAML"),
    ],
)
def test_documents_that_are_no_layouts_are_refused(tmp_path: Path, text: str, words: str) -> None:
    write_plain(tmp_path, COUNTED, NUMBERED)
    save(tmp_path / "layout.yaml", text)
    assert re.search(words, _refusal(tmp_path))


def test_the_winner_among_several_readers_is_named_with_the_others(tmp_path: Path) -> None:
    folder = write_plain(tmp_path, COUNTED, NUMBERED | {"rig.json": "{}"})
    note = open_recording(folder).notes[0]
    assert note.startswith("reader layout: a folder with layout.yaml")
    assert "image_folder (a folder with rig.json)" in note and "--reader" in note


def test_absurd_sizes_in_a_first_picture_s_header_are_refused(tmp_path: Path) -> None:
    data = bytearray(PICTURE)
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert "60000 x 60000 px" in _refusal(write_plain(tmp_path, COUNTED, {"cam/0.png": bytes(data)}))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = write_plain(tmp_path, COUNTED, NUMBERED)
    Path(os.fsdecode(os.fsencode(folder) + b"/cam/\xff\xfe.png")).write_bytes(PICTURE)
    assert "printable" in _refusal(folder)


def test_a_sensible_name_matches_quickly_however_it_is_built() -> None:
    pattern = PathPattern("{a}_{b}_{c}.png", "x")
    assert pattern.match("_" * 250) is None
    assert pattern.match("M_01_L.png") == {"a": "M", "b": "01", "c": "L"}
    same = PathPattern("{m}/{m}_{frame}.png", "x")
    assert same.match("M1/M1_3.png") == {"m": "M1", "frame": "3"} and same.match("M1/M2_3.png") is None
    assert PathPattern("a.b+c/{frame}.png", "x").match("axb+c/1.png") is None


@given(text=st.text(alphabet="{}:abfrmed_/.0123456789d*?\\", max_size=40), name=st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_pattern_is_matched_or_refused(text: str, name: str) -> None:
    with suppress(InputError):
        PathPattern(text, "x").match(name)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_layout_or_table_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "recording"
    if not folder.exists():
        write_studio(folder, ("M1",), 2)
    name = data.draw(st.sampled_from(["layout.yaml", "times_M1.csv"]))
    whole = (folder / name).read_bytes()
    content = bytearray(whole)
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        (folder / name).write_bytes(bytes(content))
        with suppress(InputError):
            assert len(read_layout(folder).rig.cameras) >= 1
    finally:
        (folder / name).write_bytes(whole)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = write_plain(tmp_path, COUNTED, NUMBERED)
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0)
    try:
        if os.access(folder / "locked", os.R_OK):  # the superuser reads everything
            assert len(_clock(read_layout(folder))) == 4
        else:
            assert "locked" in _refusal(folder)
    finally:
        (folder / "locked").chmod(0o700)
