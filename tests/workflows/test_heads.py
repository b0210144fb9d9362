"""Person, tracking and head as results: shared between takes, resumed when killed, the same bytes whichever way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flame_fitting.evidence import DepthImage
from flame_fitting.fit import FitConfig
from flame_fitting.models.registry import load_head_model
from flame_fitting.person import PersonConfig
from flame_fitting.segments import BRIDGED, FROM_DEPTH, TrackConfig
from flame_fitting.stages import FAR, NEAR, Stage
from geometry.errors import InputError
from rendering.arrays import rasterize_arrays
from storage.take import Take
from tests.workflows.fitted_takes import heads as known_heads
from tests.workflows.fitted_takes import rig, write_landmarks, write_take
from workflows import heads
from workflows.heads import HeadConfig, StoredHead, find_person, fit_heads, track_take

FRAMES, SEGMENTS = 8, 4
STAGES = (Stage("pose", 3, 0, False, 1.0, 0.0, FAR), Stage("shape", 2, 20, True, 1.0, 0.0, NEAR))
TRACKING = TrackConfig(
    (Stage("pose", 3, 0, False, 1.0, 0.0, FAR), Stage("face", 2, 0, True, 1.0, 0.0, NEAR)), overlap=2
)
CONFIG = HeadConfig(fit=FitConfig(PersonConfig(key_frames=2, stages=STAGES), TRACKING))
ARRAYS = ("curves", "curves_alone", "rotation", "translation", "vertices", "rest_vertices", "identity", "term_loss")
BLIND = 5


def silent(done: int, total: int) -> None:
    """Nobody looks on."""


def new_take(path: Path, frames: int = FRAMES) -> Take:
    """Colour alone, with landmarks in every frame but one."""
    take = write_take(path, rig(colour=2, depth=0), frames)
    states = np.full((frames, 2), 3)
    if frames > BLIND:
        states[BLIND] = 1
    write_landmarks(take, states)
    return take


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Take:
    """A take that was fitted without a break."""
    take = new_take(tmp_path_factory.mktemp("heads") / "take.zarr")
    find_person(take, CONFIG, silent)
    fit_heads(take, CONFIG, silent, segments=SEGMENTS)
    return take


def same(left: Take, right: Take) -> bool:
    """Whether two takes' fits hold the same values."""
    ours, theirs = left.results.read("fit"), right.results.read("fit")
    assert set(ours.arrays) == set(theirs.arrays)
    return all(
        np.array_equal(ours[name], theirs[name], equal_nan=ours[name][...].dtype.kind == "f") for name in ours.arrays
    )


def test_a_fit_holds_what_it_promises(fitted):
    stored = fitted.results.read("fit")
    for name in ARRAYS[:-1]:
        assert np.isfinite(stored[name]).all(), name
    state = np.asarray(stored["frame_state"])
    assert np.flatnonzero(state).tolist() == [BLIND]
    assert np.isnan(np.asarray(stored["term_loss"])[BLIND]).all() and np.asarray(stored["views"])[BLIND] == 0
    vertices = np.asarray(stored["vertices"])
    between = (vertices[BLIND - 1] + vertices[BLIND + 1]) / 2
    assert np.abs(vertices[BLIND] - between).max() < 1e-5
    head = StoredHead.read(fitted)
    posed = head.rest_vertices + np.tensordot(head.curves[0], head.expression_shapes, 1)
    np.testing.assert_allclose(vertices[0], posed @ head.rotation[0].T + head.translation[0], atol=1e-6)
    assert fitted.results.runs("track") == [], "segments are gone when the whole is there"
    assert stored.provenance.metrics["frames_without_face"] == 1


def test_fitting_again_does_nothing(fitted, monkeypatch):
    before = fitted.results.read("fit").digest
    monkeypatch.setattr(heads, "track_segment", None)
    monkeypatch.setattr(heads, "fit_person", None)
    find_person(fitted, CONFIG, silent)
    fit_heads(fitted, CONFIG, silent, segments=SEGMENTS)
    assert fitted.results.read("fit").digest == before


def test_other_settings_need_overwrite(fitted):
    other = replace(CONFIG, fit=replace(CONFIG.fit, person=replace(CONFIG.fit.person, key_frames=3)))
    with pytest.raises(InputError, match="--overwrite"):
        find_person(fitted, other, silent)
    with pytest.raises(InputError, match="--overwrite"):
        fit_heads(fitted, other, silent)


def test_a_killed_tracking_goes_on_where_it_was_and_ends_the_same(fitted, tmp_path, monkeypatch):
    take, track = new_take(tmp_path / "take.zarr"), heads.track_segment
    find_person(take, CONFIG, silent)

    def killed(head, person, evidence, frames, config, device):
        if frames.start >= FRAMES // 2:
            raise KeyboardInterrupt
        return track(head, person, evidence, frames, config, device)

    monkeypatch.setattr(heads, "track_segment", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_heads(take, CONFIG, silent, segments=SEGMENTS)
    kept = set(take.results.runs("track"))
    assert kept and "fit" not in take.results.steps(), "what is not whole does not pass for a result"
    tracked: list[range] = []

    def counted(head, person, evidence, frames, config, device):
        tracked.append(frames)
        return track(head, person, evidence, frames, config, device)

    monkeypatch.setattr(heads, "track_segment", counted)
    fit_heads(take, CONFIG, silent, segments=SEGMENTS)
    assert len(tracked) == SEGMENTS - len(kept)
    assert not {f"{frames.start:06d}-{frames.stop:06d}" for frames in tracked} & kept
    assert same(take, fitted)


def test_depth_fills_a_frame_that_no_face_detector_saw(tmp_path, monkeypatch):
    """The known heads in depth, in all frames but one: that one stays a gap."""
    of, shapes, lost = rig(colour=2, depth=1), known_heads(FRAMES), BLIND + 1
    take = write_take(tmp_path / "take.zarr", of, FRAMES)
    states = np.full((FRAMES, 2), 3)
    states[[BLIND, lost]] = 1
    write_landmarks(take, states)

    def depth(evidence, frame):
        camera, triangles = of.depth[0], load_head_model().faces.numpy()
        pixels, metres = camera.project(shapes[frame].astype(np.float64))
        shown = rasterize_arrays(np.column_stack([pixels, metres]), triangles, camera.image_size_hw)
        picture = DepthImage.cleaned(camera, np.where(shown.mask, shown.depth, 0).astype(np.float32))
        return () if frame == lost else (picture,)

    monkeypatch.setattr(heads.TakeEvidence, "depth", depth)
    find_person(take, CONFIG, silent)
    fit_heads(take, CONFIG, silent, segments=2)
    stored = take.results.read("fit")
    expected = np.zeros(FRAMES, int)
    expected[BLIND], expected[lost] = FROM_DEPTH, BRIDGED
    assert np.asarray(stored["frame_state"]).tolist() == expected.tolist()
    metrics = stored.provenance.metrics
    assert (metrics["frames_without_face"], metrics["frames_from_depth"]) == (2, 1)
    face = load_head_model().region("face").numpy()
    off = np.linalg.norm(np.asarray(stored["vertices"]) - shapes, axis=2)[:, face].mean(1)
    assert off[BLIND] < 1.5 * np.median(off)
    assert np.asarray(stored["views"])[BLIND] == 0 and np.asarray(stored["depth_residual_m"])[BLIND] < 1e-3


def test_segments_of_an_other_person_are_not_taken(tmp_path, monkeypatch):
    take = new_take(tmp_path / "take.zarr", 4)
    find_person(take, CONFIG, silent)
    track_take(take, CONFIG, silent, 2, "threads")
    other = replace(CONFIG, fit=replace(CONFIG.fit, person=replace(CONFIG.fit.person, key_frames=1)))
    find_person(take, other, silent, overwrite=True)
    tracked, track = [], heads.track_segment

    def counted(head, person, evidence, frames, config, device):
        tracked.append(frames)
        return track(head, person, evidence, frames, config, device)

    monkeypatch.setattr(heads, "track_segment", counted)
    fit_heads(take, other, silent, segments=2)
    assert len(tracked) == 2


def test_one_person_in_many_takes_is_the_same_to_the_last_byte(fitted, tmp_path):
    take = new_take(tmp_path / "other.zarr", 3)
    find_person(take, CONFIG, silent, identity_from=fitted)
    fit_heads(take, CONFIG, silent)
    for step, name in (("person", "rest_vertices"), ("person", "identity"), ("fit", "rest_vertices")):
        ours, theirs = np.asarray(take.results.read(step)[name]), np.asarray(fitted.results.read(step)[name])
        assert ours.tobytes() == theirs.tobytes(), name
    assert np.asarray(take.results.read("fit")["expression_shapes"]).tobytes() == (
        np.asarray(fitted.results.read("fit")["expression_shapes"]).tobytes()
    )


def test_an_identity_of_somebody_else_is_refused(fitted, tmp_path):
    take = new_take(tmp_path / "take.zarr", 2)
    stranger = replace(fitted, header=replace(fitted.header, subject_id="subject-10"))
    with pytest.raises(InputError, match="subject-10"):
        find_person(take, CONFIG, silent, identity_from=stranger)
    with pytest.raises(InputError, match="one model"):
        find_person(take, replace(CONFIG, model="another"), silent, identity_from=fitted)
    with pytest.raises(InputError, match="mien"):
        find_person(fitted, CONFIG, silent, identity_from=take)
    assert "person" not in take.results.steps()


def test_a_fit_needs_landmarks_and_a_person(tmp_path):
    bare = write_take(tmp_path / "bare.zarr", rig(colour=1, depth=0), 2)
    with pytest.raises(InputError, match="mien fit"):
        find_person(bare, CONFIG, silent)
    write_landmarks(bare, None)
    with pytest.raises(InputError, match="mien fit"):
        fit_heads(bare, CONFIG, silent)


def test_a_take_in_which_no_view_shows_a_face_is_refused(tmp_path):
    take = write_take(tmp_path / "take.zarr", rig(colour=1, depth=0), 2)
    write_landmarks(take, np.full((2, 1), 1))
    with pytest.raises(InputError, match="a face"):
        find_person(take, CONFIG, silent)
    assert "person" not in take.results.steps()


@pytest.mark.parametrize("segments", [0, -3])
def test_no_segment_at_all_is_refused(fitted, segments):
    with pytest.raises(InputError, match="--segments"):
        fit_heads(fitted, CONFIG, silent, segments=segments)


def test_where_it_is_computed_is_no_part_of_a_result(fitted):
    stored = fitted.results.read("fit").provenance.config
    assert set(stored) == {"model", "fit"}


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="--device"):
        HeadConfig(device=device)
