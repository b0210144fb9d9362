"""Light, focus and depth that change during a take are named with their size and their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from capture.consistency import ConsistencyFigures
from capture.ingest import IngestConfig
from capture.quality import Check, check_take
from capture.quality.agreement import check_agreement
from capture.quality.background import check_background
from capture.quality.background_motion import BackgroundMotion
from capture.quality.calibration import check_calibration
from capture.quality.depth_background import DepthDrift
from capture.quality.evidence import Evidence
from capture.quality.facts import CameraFacts
from geometry.rigs import Rig
from storage.take import Take
from tests.capture.synthetic_recording import (
    CAMERAS,
    SIZE_HW,
    plain_script,
    png_bytes,
    synthetic_rig,
    write_recording,
)
from workflows.ingesting import ingest

FRAMES, RATE_HZ = 40, 30.0
SCENE = 110 + 40 * cv2.GaussianBlur(np.random.default_rng(4).normal(0, 3, SIZE_HW).astype(np.float32), (0, 0), 0.8)


def _take(tmp_path: Path, camera_id: str, frame: Callable[[int], np.ndarray]) -> Take:
    folder = write_recording(tmp_path / "recording", plain_script(FRAMES))
    for t in range(FRAMES):
        (folder / camera_id / f"{t:06d}.png").write_bytes(png_bytes(frame(t)))
    return ingest(folder, tmp_path / "take", IngestConfig())


def _colour(grey: np.ndarray, t: int) -> np.ndarray:
    noisy = grey + np.random.default_rng([t, 8]).normal(0, 2, SIZE_HW)
    return np.repeat(np.round(noisy).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def _of(take: Take, camera_id: str) -> dict[str, Check]:
    return {check.name: check for check in check_take(take).checks if check.camera == camera_id}


def _wrong(checks: dict[str, Check]) -> set[tuple[str, str]]:
    return {(name, check.verdict) for name, check in checks.items() if check.verdict in ("warn", "fail")}


@pytest.mark.parametrize(("factor", "verdict"), [(0.93, "pass"), (0.85, "warn"), (1.25, "warn"), (0.6, "fail")])
def test_a_lamp_that_changes_is_measured_in_stops(tmp_path: Path, factor: float, verdict: str) -> None:
    checks = _of(_take(tmp_path, "left_rgb", lambda t: _colour(SCENE * (factor if t >= 24 else 1), t)), "left_rgb")
    check = checks["exposure_change"]
    assert check.value == pytest.approx(2.2 * abs(np.log2(factor)), abs=0.05) and check.verdict == verdict
    assert checks["exposure_flicker"].verdict == "pass"
    assert check.course is not None and len(check.course.time_s) == FRAMES
    if verdict != "pass":
        assert f"from {check.course.time_s[24]:.1f} s on" in check.message


def test_a_lamp_that_flickers_is_no_lamp_that_changes(tmp_path: Path) -> None:
    def beating(t: int) -> np.ndarray:
        return _colour(SCENE * (1 + 0.06 * np.sin(2 * np.pi * t / 3)), t)

    checks = _of(_take(tmp_path, "left_rgb", beating), "left_rgb")
    assert _wrong(checks) == {("exposure_flicker", "warn")}
    assert checks["exposure_flicker"].value == pytest.approx(0.06 / np.sqrt(2), rel=0.2)


def test_focus_that_fades(tmp_path: Path) -> None:
    def fading(t: int) -> np.ndarray:
        return _colour(cv2.GaussianBlur(SCENE, (0, 0), 0.3 + max(0, t - 22) * 0.15), t)

    checks = _of(_take(tmp_path, "left_rgb", fading), "left_rgb")
    assert _wrong(checks) == {("sharpness_loss", "warn")} and (checks["sharpness_loss"].value or 0) > 0.6
    assert checks["sharpness_loss"].course is not None


def test_frames_that_are_smeared(tmp_path: Path) -> None:
    def smeared(t: int) -> np.ndarray:
        return _colour(cv2.blur(SCENE, (7, 1)) if t % 8 == 5 else SCENE, t)

    checks = _of(_take(tmp_path, "left_rgb", smeared), "left_rgb")
    assert _wrong(checks) == {("smeared_frames", "warn")}
    assert checks["smeared_frames"].value == pytest.approx(5 / FRAMES)


def test_depth_that_gets_holes(tmp_path: Path) -> None:
    def holes(t: int) -> np.ndarray:
        counts = np.random.default_rng([t, 6]).integers(640, 660, SIZE_HW).astype(np.uint16)
        counts[: 30 if t >= 20 else 5] = 0
        return counts

    checks = _of(_take(tmp_path, "left_depth", holes), "left_depth")
    assert ("depth_hole_change", "warn") in _wrong(checks)
    assert checks["depth_hole_change"].value == pytest.approx(25 / 48 / 2, abs=25 / 48 / 2 + 0.02)
    rates = checks["depth_hole_rate"]
    assert rates.verdict == "pass" and rates.limit is None and rates.course is not None
    assert rates.course.value[[0, -1]] == pytest.approx([100 * 5 / 48, 100 * 30 / 48])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = write_recording(tmp_path_factory.mktemp("plain") / "recording", plain_script(12))
    return Evidence(ingest(folder, folder.parent / "take", IngestConfig()))


def _motion(jump_px: float, time_s: float = 0.2, drift_px: float = 0.0) -> BackgroundMotion:
    jumped = (time_s, 6) if jump_px else (float("nan"), -1)
    return BackgroundMotion(np.arange(6.0), np.zeros(6), jump_px, jumped[1], jumped[0], drift_px, 99)


def _moved(evidence: Evidence, motions: dict[str, BackgroundMotion | str]) -> dict[tuple[str, str | None], str]:
    still: dict[str, BackgroundMotion | str] = dict.fromkeys(CAMERAS, _motion(0.0)) | motions
    facts = {name: CameraFacts(False, motion, depth_drift="none") for name, motion in still.items()}
    again = Evidence(evidence.take)
    again.__dict__["facts"] = facts
    return {(check.name, check.camera): check.verdict for check in check_background(again)}


@pytest.mark.parametrize(("jump_px", "verdict"), [(0.0, "pass"), (0.4, "pass"), (0.8, "warn"), (2.5, "fail")])
def test_a_camera_that_was_bumped_alone(evidence: Evidence, jump_px: float, verdict: str) -> None:
    found = _moved(evidence, {"left_rgb": _motion(jump_px)})
    assert found["camera_moved", "left_rgb"] == verdict and found["camera_moved", "right_rgb"] == "pass"


def test_cameras_that_jump_together_were_not_bumped_one_by_one(evidence: Evidence) -> None:
    everywhere: dict[str, BackgroundMotion | str] = {name: _motion(4.0) for name in CAMERAS}
    found = _moved(evidence, everywhere)
    assert {found["camera_moved", name] for name in ("left_rgb", "right_rgb")} == {"warn"}
    apart = _moved(evidence, everywhere | {"right_rgb": _motion(4.0, 9.0), "right_depth": _motion(0.0)})
    assert apart["camera_moved", "right_rgb"] == "fail"


def test_a_background_that_creeps_and_one_that_is_not_there(evidence: Evidence) -> None:
    found = _moved(evidence, {"left_rgb": _motion(0.0, drift_px=0.7), "right_rgb": "a plain wall"})
    assert found["background_drift", "left_rgb"] == "warn"
    assert found["camera_moved", "right_rgb"] == found["background_drift", "right_rgb"] == "unknown"


def test_a_depth_background_that_creeps(evidence: Evidence) -> None:
    again = Evidence(evidence.take)
    drift = DepthDrift(np.linspace(0, 120, 24), np.linspace(0, 3e-3, 24), 3e-3, 1e-4)
    again.__dict__["facts"] = {name: CameraFacts(False, "none", depth_drift=drift) for name in CAMERAS}
    checks = [check for check in check_background(again) if check.name == "depth_drift"]
    assert {check.verdict for check in checks} == {"warn"} and "1.50 mm a minute" in checks[0].message


@pytest.mark.parametrize(("own_m", "verdict"), [(0.001, "pass"), (0.008, "warn"), (0.03, "fail")])
def test_depth_is_judged_by_what_half_of_the_others_agree_on(evidence: Evidence, own_m: float, verdict: str) -> None:
    again = Evidence(evidence.take)
    figures = {
        name: ConsistencyFigures(0.02, -own_m, own_m, 3, 3 * own_m * 100, 3 * own_m * 100, 2) for name in CAMERAS
    }
    again.__dict__["consistency"] = figures
    found = {(check.name, check.camera): check for check in check_agreement(again)}
    assert found["depth_disagreement", "left_depth"].verdict == verdict
    assert found["depth_disagreement", "left_depth"].value == own_m
    assert found["epipolar_residual", "left_rgb"].verdict == ("pass" if own_m < 0.006 else "warn")


def test_uncalibrated_cameras_fail_in_a_rig_and_warn_alone(tmp_path: Path) -> None:
    def blind(cameras: int) -> set[str]:
        folder = write_recording(tmp_path / str(cameras) / "recording", plain_script(2))
        take = ingest(folder, folder.parent / "take", IngestConfig())
        rig = Rig(
            tuple(replace(camera, calibration_source="uncalibrated") for camera in synthetic_rig().cameras[:cameras])
        )
        return {check.verdict for check in check_calibration(Evidence(replace(take, rig=rig)))}

    assert blind(1) == {"warn"} and blind(4) == {"fail"}
