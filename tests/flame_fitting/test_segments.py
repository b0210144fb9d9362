"""Tracking over time: cuts leave nothing behind, gaps are named and bridged, and time has no direction."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.key_frames import FRAMES_AT_ONCE
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.residuals import TERMS
from flame_fitting.scene import FrameObservations
from flame_fitting.segments import BRIDGED, FITTED, Track, TrackConfig, bridged, cut, runs, track_segment
from flame_fitting.tracking import Tracker
from geometry.errors import InputError
from tests.flame_fitting.exact_heads import COLOUR, DEPTH, ExactTake, head, named, neutral_person, noisy, scene, state

FRAMES = 16
BLINK = 9
CONFIG = TrackConfig()


def talking(frames: int = FRAMES) -> ExactTake:
    """A face that talks, blinks once for a single frame and turns, with noise on its landmarks."""
    states = []
    for frame in range(frames):
        phase = 2 * np.pi * frame / 12
        curves = named(
            jawOpen=0.25 - 0.25 * np.cos(phase),
            mouthSmileLeft=0.4,
            mouthSmileRight=0.4,
            eyeBlinkLeft=0.95 * (frame == BLINK),
            eyeBlinkRight=0.95 * (frame == BLINK),
        )
        turn = (0.03 * np.sin(phase / 2), -0.06 * np.cos(phase / 2), 0.01)
        states.append(state(curves, turn, (0.003 * np.sin(phase / 2), -0.005, 0.002)))
    return ExactTake(scene(0), tuple(states), depth_cameras=DEPTH, disturb=noisy(0.4))


def tracked(take: ExactTake, segments: int, config: TrackConfig = CONFIG) -> Track:
    pieces = cut(take.frame_count, segments)
    return Track.joined([track_segment(head(), neutral_person(), take, piece, config) for piece in pieces])


@cache
def whole() -> Track:
    return tracked(talking(), 1)


def vertices(track: Track, frame: int) -> np.ndarray:
    return neutral_person().in_head(track.curves[frame]) @ track.rotation[frame].T + track.translation[frame]


def apart_m(left: Track, right: Track) -> np.ndarray:
    """Largest distance over the head, frame by frame."""
    pairs = [(vertices(left, frame), vertices(right, frame)) for frame in range(len(left.curves))]
    return np.array([np.linalg.norm(a - b, axis=1).max() for a, b in pairs])


@pytest.fixture
def each_frame_once(monkeypatch):
    """Frames are fitted alone before they are coupled: what overlapping segments repeat is computed once here."""
    known: dict[bytes, HeadState | None] = {}
    fit = Tracker.frame

    def frame(self: Tracker, seen: FrameObservations) -> HeadState | None:
        key = b"".join(target.normalised.numpy().tobytes() for target in seen.landmarks)
        if key not in known:
            known[key] = fit(self, seen)
        return known[key]

    monkeypatch.setattr(Tracker, "frame", frame)


def test_a_frame_by_itself_is_the_same_in_any_segment():
    take = talking(4)
    one, four = (tracked(take, segments, replace(CONFIG, overlap=1)).curves_alone for segments in (1, 4))
    np.testing.assert_array_equal(one, four)


def test_frames_side_by_side_are_those_one_by_one(monkeypatch, device):
    """As a GPU takes them: the batch of a segment, with a frame in it that no camera saw."""
    few = replace(talking(7), disturb=lambda frame, view: None if frame == 3 else view)
    one = tracked(few, 1)
    monkeypatch.setitem(FRAMES_AT_ONCE, device, 5)
    together = Track.joined([track_segment(head(), neutral_person(), few, range(7), CONFIG, device)])
    assert (together.frame_state == one.frame_state).all() and together.frame_state[3] == BRIDGED
    seen = one.frame_state == FITTED
    assert apart_m(one, together)[seen].max() < 1e-6
    np.testing.assert_allclose(together.curves[seen], one.curves[seen], atol=1e-5)
    # In squared sigmas: pairs that are one to 1e-9 of them differ by what curves may, 1e-5 of a curve.
    np.testing.assert_allclose(together.term_loss[seen], one.term_loss[seen], rtol=1e-4, atol=1e-9)


def test_one_segment_and_eight_agree(each_frame_once):
    # The default overlap would span this short take from any segment: half of it leaves something to disagree about.
    apart = apart_m(whole(), tracked(talking(), 8, replace(CONFIG, overlap=8)))
    assert apart.max() < 2e-5, f"{apart * 1e3} mm"


def test_the_trace_of_a_cut_fades_with_the_overlap(each_frame_once):
    """Where noisy landmarks alone hold the head, its motion reaches farther; what is left is the overlap's matter."""
    take = replace(talking(), depth_cameras=())
    one = tracked(take, 1)
    apart = [apart_m(one, tracked(take, 2, replace(CONFIG, overlap=overlap))).max() for overlap in (1, 4, FRAMES)]
    assert apart[1] < 0.7 * apart[0] and apart[2] < 1e-9


def test_time_has_no_direction():
    """The take played backwards gives the same result backwards: smoothing does not lag."""
    take, ahead = talking(), whole()

    class Backwards(ExactTake):
        def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
            return take.landmarks(FRAMES - 1 - frame)

        def depth(self, frame: int):
            return take.depth(FRAMES - 1 - frame)

    behind = tracked(Backwards(take.of, take.states, take.colour, take.depth_cameras), 1)
    np.testing.assert_allclose(behind.curves[::-1], ahead.curves, atol=1e-6)
    np.testing.assert_allclose(behind.translation[::-1], ahead.translation, atol=1e-8)
    np.testing.assert_allclose(behind.rotation[::-1], ahead.rotation, atol=1e-7)


def test_a_blink_of_one_frame_keeps_its_height():
    names = head().model.expression_names
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        curve = whole().curves[:, names.index(name)]
        assert curve[BLINK] >= 0.9 * 0.95, curve
        assert curve.argmax() == BLINK
        assert np.delete(curve, BLINK).max() < 0.1, "nor does it smear"


def test_speech_keeps_its_time_and_its_size():
    names = head().model.expression_names
    true = np.array([each.curves[names.index("jawOpen")] for each in talking().states])
    found = whole().curves[:, names.index("jawOpen")]
    assert np.corrcoef(true, found)[0, 1] > 0.99
    errors = [np.abs(np.roll(found, shift)[2:-2] - true[2:-2]).mean() for shift in (-1, 0, 1)]
    assert np.argmin(errors) == 1, "no lag"
    assert np.ptp(found) > 0.85 * np.ptp(true)


def test_noise_on_a_still_face_is_reduced():
    still = state(named(mouthSmileLeft=0.4, mouthSmileRight=0.4, jawOpen=0.2))
    take = ExactTake(scene(0), (still,) * FRAMES, disturb=noisy(0.6))
    coupled, alone = tracked(take, 1), tracked(take, 1, replace(CONFIG, coupled_steps=0))
    np.testing.assert_array_equal(coupled.curves_alone, alone.curves)
    jitter = lambda track: np.linalg.norm(  # noqa: E731
        np.diff([vertices(track, frame)[scene(0).face] for frame in range(FRAMES)], 2, axis=0), axis=2
    ).mean()
    assert jitter(coupled) < 0.5 * jitter(alone)


@pytest.mark.parametrize("frames", [1, 2, 7, 24, 100])
@pytest.mark.parametrize("segments", [1, 2, 8, 1000])
def test_cuts_cover_every_frame_once(frames, segments):
    pieces = cut(frames, segments)
    assert [frame for piece in pieces for frame in piece] == list(range(frames))
    assert len(pieces) == min(frames, segments)
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_runs_are_the_stretches_that_are_known():
    assert runs([True, True, False, True, False, False]) == [slice(0, 2), slice(3, 4)]
    assert runs([False]) == []
    assert runs([True]) == [slice(0, 1)]


def test_frames_without_a_face_are_named_and_bridged():
    blind = {0, 6, 7, 8, 13}
    steady = tuple(
        state(named(jawOpen=0.05 * frame), (0.0, 0.02 * frame, 0.0), (0.001 * frame, 0.0, 0.0)) for frame in range(14)
    )
    take = ExactTake(scene(0), steady, disturb=lambda frame, view: None if frame in blind else view)
    raw = tracked(take, 2)
    assert set(np.flatnonzero(raw.frame_state == BRIDGED)) == blind == set(np.flatnonzero(raw.views == 0))
    assert np.isnan(raw.curves[sorted(blind)]).all(), "no frozen default stands for a result before it is bridged"
    track = bridged(raw)
    assert (track.frame_state == raw.frame_state).all()
    for values in (track.curves, track.curves_alone, track.rotation, track.translation):
        assert np.isfinite(values).all()
    seen = sorted(set(range(14)) - blind)
    np.testing.assert_array_equal(track.curves[seen], raw.curves[seen])
    np.testing.assert_array_equal(track.rotation[seen], raw.rotation[seen])
    np.testing.assert_allclose(track.curves[7], (raw.curves[5] + raw.curves[9]) / 2, atol=1e-12)
    np.testing.assert_allclose(track.translation[6], raw.translation[[5, 5, 5, 9]].mean(0), atol=1e-12)
    turn = Rotation.from_matrix([raw.rotation[5], track.rotation[7], raw.rotation[9]])
    np.testing.assert_allclose((turn[1] * turn[0].inv()).as_rotvec(), (turn[2] * turn[1].inv()).as_rotvec(), atol=1e-9)
    for end, nearest in ((0, 1), (13, 12)):
        np.testing.assert_array_equal(track.curves[end], raw.curves[nearest])
        np.testing.assert_allclose(track.rotation[end], raw.rotation[nearest], atol=1e-12)
        assert np.isnan(track.term_loss[end]).all() and np.isnan(track.camera_residual_px[end]).all()


def test_a_take_without_any_face_is_refused():
    take = ExactTake(scene(0), (state(named()),) * 3, disturb=lambda frame, view: None)
    with pytest.raises(InputError, match="a face"):
        bridged(tracked(take, 1))


def test_a_bad_frame_and_a_camera_that_is_off_name_themselves():
    """One frame's landmarks are shifted in all views, and one camera's in all frames."""
    shift = {2: 6.0}

    def disturb(frame: int, view: ViewLandmarks) -> ViewLandmarks:
        off = shift.get(frame, 0.0) * (-1) ** int(view.camera.id[-1]) + 3.0 * (view.camera.id == COLOUR[2].id)
        return replace(view, points_px=view.points_px + off)

    take = ExactTake(scene(0), (state(named()),) * 6, depth_cameras=DEPTH, disturb=disturb)
    track = tracked(take, 1)
    landmark = track.term_loss[:, TERMS.index("landmark")]
    assert landmark.argmax() == 2 and landmark[2] > 2 * np.median(landmark)
    usual = np.median(track.camera_residual_px, axis=0)
    assert usual[2] > 3 and usual[2] > 2 * usual[:2].max()
    assert (track.frame_state == FITTED).all() and (track.views == 3).all()
    assert np.median(track.camera_depth_residual_m) < 1e-4 and track.camera_depth_residual_m.shape == (6, 2)


def test_landmarks_alone_do_without_depth_and_say_so():
    take = ExactTake(scene(0), (state(named()),) * 2, colour=COLOUR[:1])
    track = tracked(take, 1)
    assert np.isnan(track.depth_residual_m).all() and track.camera_depth_residual_m.shape == (2, 0)
    assert np.isnan(track.term_loss[:, TERMS.index("depth")]).all()
    assert np.isfinite(track.term_loss[:, TERMS.index("landmark")]).all() and (track.views == 1).all()
