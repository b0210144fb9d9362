"""Frames without a face in any view: told by depth where it shows the head, gaps where it does not."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from flame_fitting.blind_frames import along, expectation, inwards, starts, with_blind_frames
from flame_fitting.evidence import DepthImage
from flame_fitting.residuals import TERMS
from flame_fitting.segments import BRIDGED, FITTED, FROM_DEPTH, Track, TrackConfig, bridged, cut, track_segment
from tests.flame_fitting.exact_heads import DEPTH, ExactTake, head, named, neutral_person, noisy, scene, state

FRAMES = 14
BLIND = range(4, 10)
CONFIG = TrackConfig()
PARTS = ("curves", "curves_alone", "rotation", "translation")


@dataclass(frozen=True, eq=False)
class Covered(ExactTake):
    """The same with depth pictures that a hand or a lost cable changes."""

    lost: frozenset[int] = frozenset()
    """Frames without depth."""
    walls: frozenset[int] = frozenset()
    """Frames in which every depth pixel is at one metre: nobody is there."""
    covered: frozenset[int] = frozenset()
    """Frames in which a board before the face leaves a sixth of each picture."""

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """All that is left."""
        images = () if frame in self.lost else super().depth(frame)
        if frame in self.walls:
            images = tuple(replace(image, depth_m=np.ones_like(image.depth_m)) for image in images)
        if frame in self.covered:
            images = tuple(replace(image, depth_m=_boarded(image.depth_m)) for image in images)
        return images


def _boarded(depth_m: np.ndarray) -> np.ndarray:
    boarded = np.full_like(depth_m, 0.3)
    boarded[: len(depth_m) // 3, : depth_m.shape[1] // 2] = depth_m[: len(depth_m) // 3, : depth_m.shape[1] // 2]
    return boarded


def turning() -> tuple:
    """A head that nods deeply and comes back while the mouth opens and shuts and the eyes stay to one side."""
    states = []
    for frame in range(FRAMES):
        away = np.sin(np.pi * frame / (FRAMES - 1)) ** 2
        curves = named(jawOpen=0.6 * away, mouthSmileLeft=0.4, mouthSmileRight=0.4, eyeLookOutLeft=0.5)
        states.append(state(curves, (0.25 * away, -0.4 * away, 0.05), (0.02 * away, -0.01, 0.03 * away)))
    return tuple(states)


NONE: frozenset[int] = frozenset()


def take(
    blind: range | frozenset[int] = BLIND,
    lost: frozenset[int] = NONE,
    walls: frozenset[int] = NONE,
    covered: frozenset[int] = NONE,
) -> Covered:
    """The head above with noise on its landmarks, and no landmarks in some frames."""
    unseen = lambda frame, view: None if frame in blind else noisy(0.3)(frame, view)  # noqa: E731
    return Covered(scene(0), turning(), depth_cameras=DEPTH, disturb=unseen, lost=lost, walls=walls, covered=covered)


def from_landmarks(of: Covered, segments: int = 1) -> Track:
    pieces = cut(FRAMES, segments)
    config = replace(CONFIG, overlap=8)
    return Track.joined([track_segment(head(), neutral_person(), of, piece, config) for piece in pieces])


def told(of: Covered, raw: Track, device: str = "cpu") -> Track:
    return with_blind_frames(head(), neutral_person(), of, raw, CONFIG, device)


def truly(blind: range | frozenset[int]) -> Track:
    """A track with the truth in it, and nothing in some frames: quicker than to fit what is known."""
    true, count = turning(), FRAMES
    gone = np.array([frame in blind for frame in range(count)])
    parts = [np.stack([getattr(each, name).numpy() for each in true]) for name in ("curves", "rotation", "translation")]
    for part in parts:
        part[gone] = np.nan
    curves, rotation, translation = parts
    nothing = lambda columns: np.full((count, columns), np.nan)  # noqa: E731
    empty = (np.where(gone, 0, 3), nothing(len(TERMS)), np.full(count, np.nan), nothing(3), nothing(2))
    return Track(curves, curves, rotation, translation, np.where(gone, BRIDGED, FITTED).astype(np.uint8), *empty)


def errors_mm(track: Track) -> np.ndarray:
    """Median distance of the face's vertices to the truth, frame by frame."""
    person, face = neutral_person(), scene(0).face
    apart = []
    for frame, true in enumerate(turning()):
        posed = person.in_head(track.curves[frame]) @ track.rotation[frame].T + track.translation[frame]
        apart.append(np.median(np.linalg.norm(posed - scene(0).surface.in_world(true).numpy(), axis=1)[face]))
    return np.array(apart) * 1000


@cache
def raw() -> Track:
    return from_landmarks(take())


@cache
def whole() -> Track:
    return told(take(), raw())


def test_depth_tells_what_interpolation_cannot(device):
    found = whole() if device == "cpu" else told(take(), raw(), device)
    assert found.frame_state.tolist() == [FROM_DEPTH if frame in BLIND else FITTED for frame in range(FRAMES)]
    inside = list(BLIND)
    guessed, measured = errors_mm(bridged(raw()))[inside], errors_mm(found)[inside]
    assert np.median(guessed) > 5, "else there is nothing to win"
    assert measured.max() < 0.3, f"{measured} mm, interpolated {guessed} mm"
    jaw = head().model.expression_names.index("jawOpen")
    true = np.array([float(each.curves[jaw]) for each in turning()])
    assert np.abs(found.curves[inside, jaw] - true[inside]).max() < 0.1
    turn = np.array([each.rotation.numpy() for each in turning()])[inside]
    off = np.einsum("tij,tkj->tik", found.rotation[inside], turn)
    assert np.degrees(np.arccos((np.trace(off, axis1=1, axis2=2) - 1) / 2)).max() < 0.2


def test_eyes_lean_on_the_frames_beside_the_gap():
    look = head().model.expression_names.index("eyeLookOutLeft")
    found = whole().curves[:, look]
    beside = found[[BLIND.start - 1, BLIND.stop]]
    assert beside.min() > 0.3, "irises told it there"
    inside = found[list(BLIND)]
    assert (inside > beside.min() - 0.1).all() and (inside < beside.max() + 0.02).all()


def test_frames_with_a_face_stay_as_they_are_and_blind_ones_say_what_they_leave():
    seen = [frame for frame in range(FRAMES) if frame not in BLIND]
    for name in PARTS:
        np.testing.assert_array_equal(getattr(whole(), name)[seen], getattr(raw(), name)[seen])
    inside = list(BLIND)
    assert (whole().views[inside] == 0).all() and np.isnan(whole().camera_residual_px[inside]).all()
    assert whole().depth_residual_m[inside].max() < 2e-4 and np.isfinite(whole().camera_depth_residual_m[inside]).all()
    assert not np.array_equal(whole().curves[inside], whole().curves_alone[inside])
    np.testing.assert_array_equal(bridged(whole()).curves, whole().curves)


def test_one_segment_and_four_agree():
    parts = told(take(), from_landmarks(take(), 4))
    person = neutral_person()
    posed = lambda track, frame: (  # noqa: E731
        person.in_head(track.curves[frame]) @ track.rotation[frame].T + track.translation[frame]
    )
    apart = [np.linalg.norm(posed(parts, frame) - posed(whole(), frame), axis=1).max() for frame in range(FRAMES)]
    assert max(apart) < 2e-5, f"{np.array(apart) * 1e3} mm"
    assert (parts.frame_state == whole().frame_state).all()


@pytest.mark.parametrize("missing", ["lost", "walls", "covered"])
def test_what_depth_does_not_show_stays_a_gap(missing):
    gone = frozenset({6, 7})
    found = told(take(**{missing: gone}), truly(BLIND))
    assert set(np.flatnonzero(found.frame_state == BRIDGED)) == gone
    assert np.isnan(found.curves[sorted(gone)]).all(), "it is bridged like any other gap"
    assert (found.frame_state[[4, 5, 8, 9]] == FROM_DEPTH).all()
    assert errors_mm(bridged(found))[[4, 5, 8, 9]].max() < 0.3


@pytest.mark.parametrize("blind", [range(4), range(10, FRAMES)])
def test_a_gap_at_an_end_of_the_take_is_walked_from_the_other(blind):
    found = told(take(blind), truly(blind))
    assert (found.frame_state[list(blind)] == FROM_DEPTH).all()
    assert errors_mm(found).max() < 0.3


def test_without_depth_or_without_gaps_nothing_changes():
    colour_alone = ExactTake(scene(0), turning(), disturb=take().disturb)
    blind, known = truly(BLIND), truly(frozenset())
    assert with_blind_frames(head(), neutral_person(), colour_alone, blind, CONFIG) is blind
    assert with_blind_frames(head(), neutral_person(), take(), known, CONFIG) is known
    nobody = truly(range(FRAMES))
    assert with_blind_frames(head(), neutral_person(), take(range(FRAMES)), nobody, CONFIG) is nobody
    no_depth_beside = take(lost=frozenset(range(FRAMES)) - {5, 6})
    assert told(no_depth_beside, blind).frame_state.tolist() == blind.frame_state.tolist(), "nothing to compare with"


def test_gaps_are_walked_from_their_known_ends():
    assert inwards(range(3, 8), True, True) == [3, 7, 4, 6, 5]
    assert inwards(range(3), False, True) == [2, 1, 0]
    assert inwards(range(3, 6), True, False) == [3, 4, 5]


def test_a_frame_is_expected_between_its_neighbours():
    known = {2: state(named(jawOpen=0.2)), 6: state(named(jawOpen=0.6))}
    jaw = head().model.expression_names.index("jawOpen")
    curves, apart = expectation(known, 3)
    assert float(curves[jaw]) == pytest.approx(0.3) and apart == pytest.approx(0.75)
    curves, apart = expectation(known, 9)
    assert float(curves[jaw]) == pytest.approx(0.6) and apart == 3


def test_a_steady_turn_is_among_the_starts():
    """Inside a gap and past its end: whichever frames are known, one start is where the head truly is."""
    steady = [state(named(), (0.0, 0.1 * frame, 0.0), (0.01 * frame, 0.0, 0.0)) for frame in range(5)]
    for known, frame in (((0, 4), 2), ((0, 1), 3), ((3, 4), 0), ((1, 2, 4), 3)):
        found = starts({each: steady[each] for each in known}, frame)
        near = [float((one.rotation - steady[frame].rotation).abs().max()) for one in found]
        assert min(near) < 1e-12
        best = found[int(np.argmin(near))]
        torch.testing.assert_close(best.translation, steady[frame].translation)
    torch.testing.assert_close(along(steady[1], steady[3], 1.0).rotation, steady[3].rotation)
