"""Each fault of a take is found by its check, and a good take passes all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capture.ingest import IngestConfig
from capture.quality import Check, QualityReport, check_take
from capture.quality.evidence import Evidence
from capture.sync import Synchronised, reports_from_json, synchronise
from geometry.cameras import Camera
from geometry.rigs import Rig
from storage.take import Take
from tests.capture import synthetic_recording
from tests.capture.synthetic_recording import (
    CAMERAS,
    Script,
    clock_table,
    picture,
    plain_script,
    png_bytes,
    synthetic_rig,
    write_recording,
    write_rig_json,
)
from workflows.ingesting import ingest

FRAMES = 30


def _take(tmp_path: Path, script: Script | None = None) -> Take:
    return ingest(
        write_recording(tmp_path / "recording", script or plain_script(FRAMES)), tmp_path / "t", IngestConfig()
    )


def _with_pictures(tmp_path: Path, camera_id: str, change: Callable[[np.ndarray, int], np.ndarray]) -> Take:
    """A take of which one camera's pictures are changed."""
    folder = write_recording(tmp_path / "recording", plain_script(6))
    for number, camera in enumerate(synthetic_rig().cameras):
        for trigger in range(6):
            if camera.id == camera_id:
                path = folder / camera_id / f"{trigger:06d}.png"
                path.write_bytes(png_bytes(change(picture(camera, number, trigger), trigger)))
    return ingest(folder, tmp_path / "t", IngestConfig())


def _with_rig(tmp_path: Path, change: Callable[[Camera], Camera], frames: int = 6) -> Take:
    folder = write_recording(tmp_path / "recording", plain_script(frames))
    write_rig_json(folder, Rig(tuple(change(camera) for camera in synthetic_rig().cameras)))
    return ingest(folder, tmp_path / "t", IngestConfig())


def _found(report: QualityReport) -> set[tuple[str, str | None, str]]:
    return {(check.name, check.camera, check.verdict) for check in report.checks if check.verdict in ("warn", "fail")}


def _one(report: QualityReport, name: str, camera: str | None = None) -> Check:
    (check,) = (check for check in report.checks if (check.name, check.camera) == (name, camera))
    return check


def test_a_good_take_passes_everything(tmp_path: Path) -> None:
    report = check_take(_take(tmp_path))
    assert report.passed and _found(report) == set()
    names = {check.name for check in report.checks}
    assert names >= {
        "integrity", "reprojection", "own_place", "frame_rate", "dropped_frames", "doubled_frames", "sync_residual",
        "clock_drift", "arrival_scatter", "incomplete_frame_sets", "depth_median", "central_depth_holes",
        "underexposed", "overexposed", "frozen_picture",
    }  # fmt: skip
    assert all(check.message.startswith(("expected", "every")) for check in report.checks)


def test_the_report_is_json_and_its_checks_are_unique(tmp_path: Path) -> None:
    report = check_take(_take(tmp_path))
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    counts = {verdict: document[f"{verdict}_count"] for verdict in ("pass", "warn", "fail", "unknown")}
    assert document["passed"] is True and counts["warn"] == counts["fail"] == 0
    assert counts["pass"] + counts["unknown"] == len(document["checks"]) == len(report.checks)
    keys = {"name", "camera", "value", "unit", "limit", "verdict", "message", "remedy"}
    assert all(set(check) == keys for check in document["checks"])
    assert all(not isinstance(value, dict | list) for check in document["checks"] for value in check.values())
    names = [(check.name, check.camera) for check in report.checks]
    assert len(set(names)) == len(names)


def test_what_cannot_be_judged_is_named_with_the_reason(tmp_path: Path) -> None:
    report = check_take(_take(tmp_path))
    unknown = {(check.name, check.camera): check for check in report.checks if check.verdict == "unknown"}
    # Pictures of noise: nothing stands still, no surface is smooth, no feature is seen twice.
    assert {name for name, _ in unknown} == {
        "camera_moved", "background_drift", "depth_drift", "depth_disagreement", "epipolar_residual", "focal_length",
    }  # fmt: skip
    assert all(check.value is None and check.remedy == "" and "got" in check.message for check in unknown.values())


def test_what_is_wrong_says_what_to_do(tmp_path: Path) -> None:
    report = check_take(_with_pictures(tmp_path, "left_depth", lambda pixels, trigger: np.zeros_like(pixels)))
    wrong = [check for check in report.checks if check.verdict in ("warn", "fail")]
    assert wrong and all(check.remedy and check.message.endswith(check.remedy) for check in wrong)


@pytest.mark.parametrize("place", [30, -200])
def test_damage_is_reported_alone(tmp_path: Path, place: int) -> None:
    take = _take(tmp_path)
    shard = sorted((tmp_path / "t" / "streams" / "left_rgb" / "frames" / "c").rglob("*"))[-1]
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)
    report = check_take(take)
    assert not report.passed and {check.name for check in report.checks} == {"integrity"}
    assert "left_rgb" in report.checks[0].message and "--overwrite" in report.checks[0].message


def test_a_missing_clock_is_damage(tmp_path: Path) -> None:
    take = _take(tmp_path)
    (tmp_path / "t" / "streams" / "left_rgb" / "device_ns" / "zarr.json").unlink()
    assert not check_take(take).passed


def _dropping(count: int) -> Script:
    cameras = dict(plain_script(200).cameras)
    triggers = tuple(k for k in range(200) if not 50 <= k < 50 + count)
    cameras["left_depth"] = replace(cameras["left_depth"], triggers=triggers)
    return Script(cameras)


@pytest.mark.parametrize(("count", "verdict"), [(0, "pass"), (1, "pass"), (2, "warn"), (10, "warn"), (11, "fail")])
def test_dropped_frames(tmp_path: Path, count: int, verdict: str) -> None:
    report = check_take(_take(tmp_path, _dropping(count)))
    check = _one(report, "dropped_frames", "left_depth")
    assert check.verdict == verdict and check.value == pytest.approx(count / 200)
    assert report.passed == (verdict != "fail")
    assert f"{count} of 200 frames" in check.message


def test_a_single_lost_frame_of_a_short_recording_is_a_warning(tmp_path: Path) -> None:
    cameras = dict(plain_script(12).cameras)
    cameras["left_rgb"] = replace(cameras["left_rgb"], triggers=(*range(5), *range(6, 12)))
    report = check_take(_take(tmp_path, Script(cameras)))
    assert report.passed and ("dropped_frames", "left_rgb", "warn") in _found(report)


def test_doubled_frames_and_a_late_camera(tmp_path: Path) -> None:
    cameras = dict(plain_script(FRAMES).cameras)
    cameras["left_rgb"] = replace(cameras["left_rgb"], triggers=(0, 1, 1, *range(2, FRAMES)))
    cameras["right_depth"] = replace(cameras["right_depth"], triggers=tuple(range(3, FRAMES)))
    report = check_take(_take(tmp_path, Script(cameras)))
    assert _found(report) == {("doubled_frames", "left_rgb", "warn"), ("incomplete_frame_sets", None, "warn")}
    assert "late: right_depth" in _one(report, "incomplete_frame_sets").message


def test_cameras_that_did_not_run_together_fail(tmp_path: Path) -> None:
    cameras = dict(plain_script(40).cameras)
    for name, triggers in zip(CAMERAS, (range(10), range(10, 20), range(20, 30), range(30, 40)), strict=True):
        cameras[name] = replace(cameras[name], triggers=tuple(triggers))
    assert ("mostly_empty_frame_sets", None, "fail") in _found(check_take(_take(tmp_path, Script(cameras))))


@pytest.mark.parametrize(("rate_hz", "verdict"), [(30.14, "pass"), (30.5, "warn"), (25.0, "fail")])
def test_a_rate_that_is_not_nominal(tmp_path: Path, rate_hz: float, verdict: str) -> None:
    folder = write_recording(tmp_path / "recording", replace(plain_script(FRAMES), rate_hz=rate_hz))
    write_rig_json(folder, synthetic_rig(30.0))
    report = check_take(ingest(folder, tmp_path / "t", IngestConfig()))
    check = _one(report, "frame_rate", "left_rgb")
    assert check.verdict == verdict and f"{rate_hz:.1f}"[:4] in check.message


def test_clock_drift_is_named_and_corrected(tmp_path: Path) -> None:
    cameras = dict(plain_script(300).cameras)
    cameras["right_rgb"] = replace(cameras["right_rgb"], drift_ppm=1850.0)
    report = check_take(_take(tmp_path, Script(cameras)))
    assert _found(report) == {("clock_drift", "right_rgb", "warn")}
    assert _one(report, "clock_drift", "right_rgb").value == pytest.approx(1850, rel=0.05)


def test_cameras_at_different_moments_have_a_sync_residual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def a_third_of_a_period_late(recorded, script, number, suffix=".png"):
        table = clock_table(recorded, script, number, suffix)
        late_ns = 11_000_000 if number == 2 else 0
        assert table.host_ns is not None
        return replace(table, device_ns=table.device_ns + late_ns, host_ns=table.host_ns + late_ns)

    monkeypatch.setattr(synthetic_recording, "clock_table", a_third_of_a_period_late)
    report = check_take(_take(tmp_path))
    assert ("sync_residual", "right_rgb", "warn") in _found(report) and report.passed


def test_a_clock_that_steps_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stepping(recorded, script, number, suffix=".png"):
        table = clock_table(recorded, script, number, suffix)
        step_ns = np.where(np.arange(len(table.files)) < 20, 0, 400_000_000) * (number == 1)
        return replace(table, device_ns=table.device_ns + step_ns)

    monkeypatch.setattr(synthetic_recording, "clock_table", stepping)
    assert ("arrival_scatter", "left_depth", "warn") in _found(check_take(_take(tmp_path)))


def test_a_clock_that_was_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stepping(recorded, script, number, suffix=".png"):
        table = clock_table(recorded, script, number, suffix)
        step_ns = np.where(np.arange(len(table.files)) < 50, 0, 400_000_000) * (number == 1)
        return replace(table, device_ns=table.device_ns + step_ns)

    monkeypatch.setattr(synthetic_recording, "clock_table", stepping)
    report = check_take(_take(tmp_path, plain_script(100)))
    check = _one(report, "clock_steps", "left_depth")
    assert check.verdict == "warn" and check.value == 1 and report.passed
    assert _one(report, "clock_steps", "left_rgb").verdict == "pass"


def test_what_the_ingest_found_about_clocks_is_what_is_judged(tmp_path: Path) -> None:
    take = _take(tmp_path)
    reports = reports_from_json(take.sync_attributes) or synchronise(take.rig, Evidence(take).clocks).cameras
    told = [replace(report, out_of_order=3 * (report.camera == "left_rgb")) for report in reports]
    take.__dict__["sync_attributes"] = Synchronised(take.sync, tuple(told)).to_json()
    report = check_take(take)
    assert _found(report) == {("out_of_order_frames", "left_rgb", "warn")}
    assert _one(report, "out_of_order_frames", "left_rgb").value == pytest.approx(3 / FRAMES)


@pytest.mark.parametrize(
    ("grey", "found"), [(3, {("underexposed", "fail")}), (20, set()), (235, set()), (250, {("overexposed", "fail")})]
)
def test_exposure(tmp_path: Path, grey: int, found: set[tuple[str, str]]) -> None:
    def flat(pixels: np.ndarray, trigger: int) -> np.ndarray:
        return np.full_like(pixels, grey + trigger % 2)

    report = check_take(_with_pictures(tmp_path, "left_rgb", flat))
    assert _found(report) == {(name, "left_rgb", verdict) for name, verdict in found}


def test_a_frozen_picture(tmp_path: Path) -> None:
    still = picture(synthetic_rig()["right_rgb"], 2, 0)
    report = check_take(_with_pictures(tmp_path, "right_rgb", lambda pixels, trigger: still))
    assert _found(report) == {("frozen_picture", "right_rgb", "fail")}


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "pass"), (0.93, "warn"), (0.99, "fail")])
def test_depth_that_misses_the_subject(tmp_path: Path, share: float, verdict: str) -> None:
    def holes(pixels: np.ndarray, trigger: int) -> np.ndarray:
        random = np.random.default_rng(trigger)
        return np.where(random.random(pixels.shape) < share, 0, pixels).astype(np.uint16)

    report = check_take(_with_pictures(tmp_path, "left_depth", holes))
    check = _one(report, "central_depth_holes", "left_depth")
    assert check.verdict == verdict and check.value == pytest.approx(share, abs=0.02)


def test_no_depth_at_all_fails(tmp_path: Path) -> None:
    report = check_take(_with_pictures(tmp_path, "left_depth", lambda pixels, trigger: np.zeros_like(pixels)))
    assert ("depth_median", "left_depth", "fail") in _found(report)
    assert ("central_depth_holes", "left_depth", "fail") in _found(report)


def test_depth_that_wanders_out_of_range_after_the_first_frames_fails(tmp_path: Path) -> None:
    def far(pixels: np.ndarray, trigger: int) -> np.ndarray:
        return pixels if trigger < 2 else (pixels * 9).astype(np.uint16)

    check = _one(check_take(_with_pictures(tmp_path, "right_depth", far)), "depth_median", "right_depth")
    assert check.verdict == "fail" and check.value == pytest.approx(5.4, abs=0.2) and "depth_unit_m" in check.message


def test_two_cameras_at_one_place_fail_unless_a_device_registered_them(tmp_path: Path) -> None:
    place = synthetic_rig()["left_rgb"].world_from_camera

    def registered(camera: Camera) -> Camera:
        return replace(camera, world_from_camera=place) if camera.id == "left_depth" else camera

    assert check_take(_with_rig(tmp_path / "a", registered)).passed

    def copied(camera: Camera) -> Camera:
        return replace(camera, world_from_camera=place) if camera.id == "right_rgb" else camera

    report = check_take(_with_rig(tmp_path / "b", copied))
    assert _found(report) == {("own_place", "left_rgb", "fail"), ("own_place", "right_rgb", "fail")}
    assert "right_rgb within a millimetre" in _one(report, "own_place", "left_rgb").message


def test_a_poor_calibration_is_a_warning(tmp_path: Path) -> None:
    report = check_take(_with_rig(tmp_path, lambda camera: replace(camera, reprojection_px=1.4)))
    assert report.passed and _found(report) == {("reprojection", name, "warn") for name in CAMERAS}


@pytest.mark.parametrize("name", ["heic_face_data.heic", "jpeg_depth_data.jpg"])
def test_a_portrait_of_one_frame_passes(real_data: Path, tmp_path: Path, name: str) -> None:
    portrait = real_data / "rgbd" / "truedepth_portraits" / name
    report = check_take(ingest(portrait, tmp_path / "t", IngestConfig()))
    assert report.passed and _found(report) == set()


def test_a_single_frame_of_several_cameras_passes(tmp_path: Path) -> None:
    report = check_take(_take(tmp_path, plain_script(1)))
    assert report.passed and _found(report) == set()
