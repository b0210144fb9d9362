"""The report says of a fit what was bridged, which frame and which camera are wrong, and what the input lacks."""

import re
from pathlib import Path

import numpy as np
import pytest

from storage.results import Provenance, ResultArray
from storage.take import Take
from tests.workflows.fitted_takes import rig, write_fit, write_landmarks, write_take
from workflows.report import write_report
from workflows.report.contents import FittedHead
from workflows.report.fit_cameras import ODD_COLOUR_MM, camera_lines, cameras_section, odd_cameras
from workflows.report.fit_gaps import gap_words, gaps_of, gaps_section, runs_of
from workflows.report.fit_lacks import lacks_of
from workflows.report.fit_losses import loss_chart, losses_section, named_frames
from workflows.report.fit_record import CameraResiduals, FrameLosses, bridged_frames
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.landmark_shifts import common_shift
from workflows.report.overlay_figures import chosen_frames

FRAMES = 10
TERMS = ("landmark", "depth", "lids", "prior")
LOST, BAD_FRAME, LAMP_OUT = (3, 4), 6, 8
"""Frames without a face, one whose landmarks lie elsewhere, and one that only depth saw."""


def _losses(bad: int | None = BAD_FRAME) -> np.ndarray:
    loss = np.random.default_rng(0).uniform(0.8, 1.2, (FRAMES, len(TERMS)))
    loss[list(LOST)] = np.nan
    loss[2, 3] = 400.0  # a strong expression costs its prior much; that is no fault of the frame
    if bad is not None:
        loss[bad, 0] = 25.0
    return loss


def _record(take: Take, loss: np.ndarray, wrong: str | None = None) -> dict[str, ResultArray]:
    colour = {"camera": tuple(camera.id for camera in take.rig.rgb)}
    depth = {"camera": tuple(camera.id for camera in take.rig.depth)}
    rng = np.random.default_rng(1)
    pixels = rng.uniform(0.4, 0.5, (FRAMES, len(colour["camera"])))
    metres = rng.uniform(-1e-3, -8e-4, (FRAMES, len(depth["camera"])))
    for values, ids in ((pixels, colour["camera"]), (metres, depth["camera"])):
        values[list(LOST)] = np.nan
        if wrong in ids:
            values[:, ids.index(wrong)] *= 8
    state, views = np.zeros(FRAMES, np.uint8), np.full(FRAMES, 3, np.int32)
    state[list(LOST)], state[LAMP_OUT] = 1, 2
    views[[*LOST, LAMP_OUT]] = 0
    return {
        "frame_state": ResultArray(state, ("frame",)),
        "views": ResultArray(views, ("frame",)),
        "term_loss": ResultArray(loss, ("frame", "term"), "1", {"term": TERMS}),
        "camera_residual_px": ResultArray(pixels, ("frame", "camera"), "px", colour),
        "camera_depth_residual_m": ResultArray(metres, ("frame", "camera"), "m", depth),
    }


def _states() -> np.ndarray:
    states = np.full((FRAMES, 3), 3)
    states[list(LOST)] = 1
    states[LAMP_OUT] = 0
    states[1:3, 2] = 4
    return states


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    """Three colour cameras and two depth cameras; frames 3 and 4 lost, frame 6 bad, frame 8 dark."""
    dark: dict[str, tuple[int, ...]] = dict.fromkeys(("front", "left", "right"), (LAMP_OUT,))
    made = write_take(tmp_path_factory.mktemp("fitted") / "take.zarr", rig(3, 2), FRAMES, dark)
    write_landmarks(made, _states())
    write_fit(made, _record(made, _losses(), "left"), {"jitter_mm_per_frame2": 0.071, "lag_frames": 0.0})
    return made


def _read(take: Take) -> tuple[FittedHead, FoundLandmarks]:
    fit, marks = FittedHead.read(take), FoundLandmarks.read(take)
    assert fit is not None and marks is not None
    return fit, marks


def _text(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", markup))


def test_runs_are_whole_and_in_order() -> None:
    for mask in (np.zeros(7, bool), np.ones(7, bool), np.array([1, 0, 1, 1, 0, 0, 1], bool), np.zeros(0, bool)):
        again = np.zeros_like(mask)
        for first, last in runs_of(mask):
            again[first : last + 1] = True
            assert (first == 0 or not mask[first - 1]) and (last == len(mask) - 1 or not mask[last + 1])
        np.testing.assert_array_equal(again, mask)


def test_each_gap_is_named_with_its_reason(take: Take) -> None:
    fit, marks = _read(take)
    gaps = gaps_of(take, fit, marks)
    assert [gap_words(gap, bridged_frames(fit)) for gap in gaps] == [
        "Frames 3-4: no face in any view; bridged between frames 2 and 5",
        "Frame 8: no picture in any view; fitted to depth alone",
    ]
    said = _text(gaps_section(take, fit, marks).html)
    assert "2 of 10 frames not measured" in said and "right seen in profile 2 1-2".replace(" ", "") in said.replace(
        " ", ""
    )


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ((0, 1), "Frames 0-1: no face in any view; bridged from frame 2 alone"),
        ((9,), "Frame 9: no face in any view; bridged from frame 8 alone"),
        (tuple(range(FRAMES)), "Frames 0-9: no face in any view; nothing to bridge from"),
    ],
)
def test_a_gap_at_the_end_of_a_take_says_where_its_head_comes_from(
    lost: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    made = write_take(tmp_path / "take.zarr", rig(1, 0), FRAMES)
    states, views = np.full((FRAMES, 1), 3), np.ones(FRAMES, np.int32)
    states[list(lost)], views[list(lost)] = 1, 0
    write_landmarks(made, states)
    write_fit(made, {"views": ResultArray(views, ("frame",))})  # a fit of old: no states, no depth
    fit, marks = _read(made)
    assert [gap_words(gap, bridged_frames(fit)) for gap in gaps_of(made, fit, marks)] == [words]


def test_a_bad_frame_names_itself_and_the_term(take: Take) -> None:
    fit, _ = _read(take)
    losses = FrameLosses.of(fit)
    assert losses is not None and named_frames(losses) == [BAD_FRAME]
    assert losses.words(BAD_FRAME).startswith("landmark 5 sigmas, ")
    said = _text(losses_section(fit, np.arange(FRAMES) / 25).html)
    assert "frame 6 landmark 5 sigmas" in said and "0.071 mm/frame²" in said and "0 frames" in said


def test_bridged_frames_are_neither_doubtful_nor_typical(take: Take) -> None:
    fit, _ = _read(take)
    losses = FrameLosses.of(fit)
    assert losses is not None
    doubtful, typical = chosen_frames(fit, losses)
    assert doubtful[0] == BAD_FRAME and len(typical) >= 2
    assert not set(LOST) & {*doubtful, *typical} and not set(doubtful) & set(typical)
    assert max(losses.doubt[typical]) <= min(losses.doubt[doubtful])


def test_an_even_take_names_no_frame(take: Take) -> None:
    losses = FrameLosses(TERMS, np.sqrt(_losses(None)), "sigmas")
    assert named_frames(losses) == []


def test_the_chart_draws_no_line_through_a_gap() -> None:
    losses = FrameLosses(TERMS, np.sqrt(_losses()), "sigmas")
    bridged = np.isin(np.arange(FRAMES), LOST)
    chart = loss_chart(losses, np.arange(FRAMES) / 25, bridged).html
    assert "nan" not in chart and chart.count("<polyline") == 2 * len(TERMS)
    assert chart.count('class="bridge"') == 1 and chart.count('class="odd-mark"') == 1


@pytest.mark.parametrize("wrong", ["left", "right", "left_depth"])
def test_a_wrong_calibration_names_its_camera(take: Take, wrong: str, tmp_path: Path) -> None:
    made = write_take(tmp_path / "take.zarr", rig(3, 3), FRAMES)
    write_landmarks(made, _states())
    write_fit(made, _record(made, _losses(), wrong))
    fit, marks = _read(made)
    said = _text(cameras_section(made, fit, marks).html)
    assert re.search(rf"\b{wrong} [\d.]+ mm off at the face, [78]\.\d times the others: its calibration is wrong", said)
    assert said.count("its calibration is wrong") == 2  # once as a finding, once in its row


def test_alike_cameras_accuse_nobody(take: Take) -> None:
    fit, marks = _read(take)
    lines = camera_lines(take, fit, CameraResiduals.of_colour(take, fit, marks), "rgb")
    assert list(odd_cameras(lines, ODD_COLOUR_MM)) == ["left"]
    assert odd_cameras([line for line in lines if line.camera.id != "left"], 0.0) == {}
    assert odd_cameras(lines[:1], 0.0) == {}
    (said,) = odd_cameras(lines[:2], ODD_COLOUR_MM).values()  # of two, nothing tells which
    assert "its calibration or that of the other is wrong" in said


def test_the_shift_that_most_cameras_agree_on_is_told_from_one_cameras_own() -> None:
    axes = np.stack([item.world_from_camera.rotation.T[:2] for item in (*rig(3, 0).cameras, *rig(3, 0).cameras[:2])])
    head, own = np.array([0.006, -0.001, 0.002]), np.zeros((5, 2))
    own[3] = [0.004, -0.007]
    found_head, found_own = common_shift(axes, axes @ head + own)
    np.testing.assert_allclose(found_head, head, atol=1e-5)
    np.testing.assert_allclose(found_own, own, atol=1e-5)


@pytest.mark.parametrize(
    ("moved", "words"),
    [((0.006, 0.0, 0.0), "colour against depth"), ((0.001, 0.0, 0.0), "No camera stands out")],
)
def test_colour_that_agrees_with_itself_but_not_with_depth_is_told(
    moved: tuple[float, float, float], words: str, tmp_path: Path
) -> None:
    made = write_take(tmp_path / "take.zarr", rig(3, 1), FRAMES)
    write_landmarks(made, None)
    axes = np.stack([item.world_from_camera.rotation.T[:2] for item in made.rig.rgb])
    offsets = np.repeat((axes @ np.array(moved))[:, None], 478, 1)
    names = {"camera": tuple(item.id for item in made.rig.rgb)}
    person = {"landmark_offset_m": ResultArray(offsets, ("camera", "landmark", "xy"), "m", names)}
    made.results.write("person", "default", person, Provenance({}, {"take": made.digest}))
    write_fit(made, _record(made, _losses()), person=made.results.read("person").digest)
    said = _text(cameras_section(made, *_read(made)).html)
    assert words in said and ("stands out" in said) != ("against depth" in said)
    write_fit(made, _record(made, _losses()))  # whose person is another one: its offsets say nothing here
    assert "against depth" not in _text(cameras_section(made, *_read(made)).html)


@pytest.mark.parametrize(
    ("colour", "depth", "frames", "marks", "calibrated", "lacks"),
    [
        (3, 2, 10, 478, True, []),
        (1, 0, 10, 478, False, ["No depth", "One view", "No calibration"]),
        (1, 1, 1, 478, True, ["One view", "One frame"]),
        (2, 0, 10, 468, True, ["No depth", "No iris"]),
    ],
    ids=["rig", "one video", "TrueDepth portrait", "two views"],
)
def test_the_report_says_what_the_input_lacks(
    colour: int, depth: int, frames: int, marks: int, calibrated: bool, lacks: list[str], tmp_path: Path
) -> None:
    made = write_take(tmp_path / "take.zarr", rig(colour, depth, calibrated), frames)
    write_landmarks(made, np.full((frames, colour), 3), marks)
    write_fit(made, {})
    assert [lack.what for lack in lacks_of(made, *_read(made))] == lacks


@pytest.mark.parametrize(
    ("colour", "calibrated", "words"),
    [
        (2, True, ("measured where the calibrated views' landmarks meet", " degrees apart about the head")),
        (2, False, ("comes from the prior of head sizes",)),
        (1, True, ("the focal length is the calibration's", "comes from the prior of head sizes")),
        (1, False, ("comes from the prior of head sizes",)),
    ],
)
def test_the_report_says_where_a_heads_size_comes_from(
    colour: int, calibrated: bool, words: tuple[str, ...], tmp_path: Path
) -> None:
    made = write_take(tmp_path / "take.zarr", rig(colour, 0, calibrated), 10)
    write_landmarks(made, np.full((10, colour), 3), 478)
    write_fit(made, {})
    (said,) = (lack.consequence for lack in lacks_of(made, *_read(made)) if lack.what == "No depth")
    assert all(each in said for each in words), said
    assert ("measured" in said) == (colour > 1 and calibrated)
    assert ("calibration's" in said) == (colour == 1 and calibrated)


def test_a_fit_of_an_earlier_version_is_shown_without_what_it_did_not_store(tmp_path: Path) -> None:
    made = write_take(tmp_path / "take.zarr", rig(2, 1), 4)
    write_landmarks(made, None, 468)
    write_fit(made, {})
    write_report(made, tmp_path / "page.html")
    said = _text((tmp_path / "page.html").read_text().partition("<main>")[2])
    assert "This fit stored no loss of each term" in said and "fit anew with --overwrite" in said
    assert "Every frame was fitted" in said and "0.0 px" in said  # the landmarks lie on the head


def test_a_head_that_is_not_finite_breaks_no_page(tmp_path: Path) -> None:
    made = write_take(tmp_path / "take.zarr", rig(1, 0), 3)
    write_landmarks(made, np.array([[3], [1], [3]]))
    write_fit(made, {})
    fit, _ = _read(made)
    vertices, rotation = fit.result["vertices"][...].copy(), fit.rotation.copy()
    vertices[1], rotation[1] = np.nan, np.nan
    broken = {
        "vertices": ResultArray(vertices, ("frame", "vertex", "xyz"), "m"),
        "rotation": ResultArray(rotation, ("frame", "row", "column")),
        "frame_state": ResultArray(np.array([0, 1, 0], np.uint8), ("frame",)),
    }
    write_fit(made, broken)
    for frame in (None, 1):
        write_report(made, tmp_path / "page.html", frame=frame)
        page = (tmp_path / "page.html").read_text()
        assert "Frame 1: no face in any view; bridged between frames 0 and 2" in page
        assert ("Frame 1 has no head" in page) == (frame == 1)
        assert not re.search(r"\bnan\b", _text(page.partition("<main>")[2])) and not re.search('points="[^"]*nan', page)
