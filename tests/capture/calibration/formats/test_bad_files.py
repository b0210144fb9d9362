"""Calibration files from outside that are damaged, hostile or of another kind: a clear refusal, never a crash."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.calibration.formats import calibration_files, read_calibration, write_calibration
from capture.yaml_document import parse_yaml
from geometry.errors import InputError
from geometry.rigs import Rig
from tests.capture.calibration.formats.rigs import rig_of
from tests.capture.calibration.formats.test_round_trips import FILES

BOMB = b"a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_cut_and_repeated_bytes_give_a_rig_or_an_input_error(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    sizes = ((720, 1280), (576, 640))
    path = tmp_path / FILES[name]
    write_calibration(path, rig_of((5, 4), 5, sizes), name)
    files = calibration_files(path / "intri.yml" if name == "opencv" else path)
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 40))
    content[start : start + length] = data.draw(st.binary(max_size=40))
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    try:
        assert isinstance(read_calibration(path), Rig)
    except InputError as error:
        assert error.expected and error.got and error.remedy


@given(data=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_as_yaml_give_text_or_an_input_error(data: bytes) -> None:
    with suppress(InputError):
        assert isinstance(parse_yaml(data, "x"), dict)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (BOMB, "anchor or alias"),
        (b"a: !!python/object/apply:os.system ['true']\nb: *a", "anchor or alias"),
        (b"{a: " + b"[" * 5000 + b"]" * 5000 + b"}", "deeper|recursion"),
        (b"a: 1\na: 2\n", "twice"),
        (b"? [a, b]\n: 1\n", "no text"),
        (b"[1, 2]", "mapping"),
        (b"", "mapping"),
        (b"a: 1\n---\nb: 2\n", "document"),
        (b"\xff\xfe\x00", "YAML"),
    ],
)
def test_yaml_bombs_and_other_structures_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_yaml(data, "x")


def test_tags_execute_nothing_and_numbers_stay_text() -> None:
    document = parse_yaml(b"a: !!python/object/apply:os.system ['exit 1']\nb: 010\nc: no\nd: 1e3\n", "x")
    assert document == {"a": ["exit 1"], "b": "010", "c": "no", "d": "1e3"}


def test_absurd_sizes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    huge = tmp_path / "intri.yml"
    with huge.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="at most"):
        read_calibration(huge)
    (tmp_path / "transforms.json").write_text(
        json.dumps({"frames": [{"file_path": "a", "transform_matrix": []}] * 100_001})
    )
    with pytest.raises(InputError, match="frames"):
        read_calibration(tmp_path / "transforms.json")
    folder = tmp_path / "sparse"
    write_calibration(folder, rig_of((0,), 6), "colmap")
    (folder / "cameras.txt").write_text("1 PINHOLE 999999999 720 900 900 640 360\n")
    with pytest.raises(InputError, match="side"):
        read_calibration(folder)


def test_other_camera_models_are_refused_by_name(tmp_path: Path) -> None:
    write_calibration(tmp_path, rig_of((0,), 6), "colmap")
    (tmp_path / "cameras.txt").write_text("1 OPENCV_FISHEYE 1280 720 900 900 640 360 0 0 0 0\n")
    with pytest.raises(InputError, match=r"FULL_OPENCV.*OPENCV_FISHEYE"):
        read_calibration(tmp_path)
    write_calibration(tmp_path / "transforms.json", rig_of((0,), 6), "nerfstudio")
    document = json.loads((tmp_path / "transforms.json").read_text())
    for change, words in (({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"), ({"k4": 0.1}, "k4")):
        (tmp_path / "transforms.json").write_text(json.dumps(document | change))
        with pytest.raises(InputError, match=words):
            read_calibration(tmp_path / "transforms.json")


def test_what_is_no_calibration_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    for path in (
        tmp_path,
        tmp_path / "other.json",
        tmp_path / "absent.json",
        tmp_path / "absent.yml",
        Path("a\0b.json"),
    ):
        with pytest.raises(InputError):
            read_calibration(path)


@pytest.mark.parametrize(
    "name",
    [
        "azure_kinect/calibration.json",
        "truedepth_charuco/FrontCamCalibrationDataset/iPhone11Pro_iOS14/cam_calibration.json",
    ],
)
def test_real_calibrations_with_flipped_bytes_give_a_rig_or_an_input_error(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    """200 bytes flipped one at a time; the second is of no known format, so that every flip must be refused."""
    content = (real_data / "rgbd" / name).read_bytes()
    random, path = np.random.default_rng(7), tmp_path / "calibration.json"
    for _ in range(200):
        flipped = bytearray(content)
        flipped[int(random.integers(len(content)))] ^= int(random.integers(1, 256))
        path.write_bytes(flipped)
        try:
            assert isinstance(read_calibration(path), Rig) and name.startswith("azure")
        except InputError as error:
            assert error.expected and error.got and error.remedy
