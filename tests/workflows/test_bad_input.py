"""Every bad input ends with exit code 2 and one message: what was expected, what came, what to do."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from storage.schema import SCHEMA_VERSION
from tests.workflows.test_main_job import mien

FRAMES = 2


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    out = tmp_path_factory.mktemp("bad_input") / "recording"
    mien("simulate", out, "--frames", FRAMES, "--subject", 6, "--noise", "none")
    return out


@pytest.fixture
def broken(good, tmp_path):
    """A copy of the good recording, to be broken."""
    copy = tmp_path / "recording"
    shutil.copytree(good, copy)
    return copy


def refused(source, out, *words: str) -> None:
    """The main job refuses the source, in words, and leaves nothing that a later command would take for whole."""
    message = mien("run", source, out, code=2).stderr
    for word in ("expected", "got", *words):
        assert word in message, f"{word!r} is not in: {message}"
    assert not (out / "head.glb").exists()
    if (out / "take.zarr").exists():
        mien("fit", out / "take.zarr", code=2)


def test_missing_file(broken, tmp_path):
    (broken / "m1_depth" / "000001.png").unlink()
    refused(broken, tmp_path / "out", "000001.png")


def test_truncated_file(broken, tmp_path):
    picture = broken / "m1_rgb" / "000001.jpg"
    picture.write_bytes(picture.read_bytes()[:2000])
    refused(broken, tmp_path / "out", "000001.jpg")


def test_picture_that_does_not_decode(broken, tmp_path):
    (broken / "m0_rgb" / "000000.jpg").write_bytes(b"this is no picture" * 100)
    refused(broken, tmp_path / "out", "000000.jpg")


def test_depth_unit_that_puts_the_face_out_of_reach(broken, tmp_path):
    rig = json.loads((broken / "rig.json").read_text())
    text = json.dumps(rig)
    assert '"depth_unit_m": 0.001' in text
    (broken / "rig.json").write_text(text.replace('"depth_unit_m": 0.001', '"depth_unit_m": 0.1'))
    refused(broken, tmp_path / "out", "unit")


def test_unknown_camera(broken, tmp_path):
    card = json.loads((broken / "recording.json").read_text())
    card["cameras"].append("m9_rgb")
    (broken / "recording.json").write_text(json.dumps(card))
    refused(broken, tmp_path / "out", "m9_rgb")


def test_empty_folder(tmp_path):
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", tmp_path / "out", "empty")


def test_nothing_there(tmp_path):
    refused(tmp_path / "gone", tmp_path / "out", "exist")


def test_a_recording_that_was_not_finished(broken, tmp_path):
    (broken / "recording.json").unlink()
    refused(broken, tmp_path / "out")


def test_a_take_of_another_schema_version(good, tmp_path):
    take = tmp_path / "take.zarr"
    mien("ingest", good, take)
    root = take / "zarr.json"
    document = root.read_text()
    changed = document.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
    assert changed != document
    root.write_text(changed)
    assert "99" in mien("check", take, code=2).stderr


def test_a_full_disk(good, tmp_path):
    """A small file system fills up halfway through the ingest."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        message = mien("ingest", good, small / "take.zarr", code=2).stderr
        assert "space" in message
        assert "unfinished" in mien("fit", small / "take.zarr", code=2).stderr
    finally:
        subprocess.run(["umount", small], check=True)


def test_no_face_in_any_picture(broken, tmp_path):
    for picture in broken.glob("*_rgb/*.jpg"):
        noise = np.random.default_rng(0).integers(0, 60, (720, 1280, 3), np.uint8)
        cv2.imwrite(str(picture), noise)
    message = mien("run", broken, tmp_path / "out", code=2).stderr
    assert "face" in message


def test_a_failed_check_stops_the_run_unless_told_to_continue(broken, tmp_path):
    black = np.zeros((720, 1280, 3), np.uint8)
    for picture in (broken / "m2_rgb").glob("*.jpg"):
        cv2.imwrite(str(picture), black)
    out = tmp_path / "out"
    stopped = mien("run", broken, out, code=1)
    assert "--continue" in stopped.stderr and "m2_rgb" in stopped.stderr
    assert not (out / "head.glb").exists()
    mien("check", out / "take.zarr", code=1)
    mien("run", broken, out, "--continue")
    assert (out / "head.glb").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("run",),
        ("simulate", "x", "--preset", "attic"),
        ("simulate", "x", "--frames", "0"),
        ("simulate", "x", "--frames", "many"),
        ("simulate", "x", "--scan", "gone.obj"),
        ("models", "polish"),
        ("export", "gone.zarr", "head.glb"),
        ("fit", "gone.zarr"),
    ],
)
def test_wrong_usage(arguments, tmp_path, monkeypatch):
    placed = [tmp_path / word if word in ("x", "gone.zarr", "gone.obj") else word for word in arguments]
    assert mien(*placed, code=2).stderr.strip()
    assert not (tmp_path / "x" / "recording.json").exists()
