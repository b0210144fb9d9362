"""The side-by-side film plays, is the same every time, and belongs to its subject; overlays lie where they should."""

import gc
import weakref
from pathlib import Path

import av
import numpy as np
import pytest

from geometry.errors import InputError
from storage.output_ledger import LEDGER
from storage.places import place_of
from storage.results import ResultArray
from storage.subject_search import find_subject
from storage.take import Take
from tests.workflows.fitted_takes import rig, write_fit, write_landmarks, write_take
from workflows.report import film as film_module
from workflows.report.best_view import best_view, window_of
from workflows.report.contents import FittedHead
from workflows.report.face_lines import IRIS_RADIUS_M, HeadLines, fitted_sphere
from workflows.report.files import write_report_files
from workflows.report.film import FilmPictures, film_of, write_take_film
from workflows.report.film_encoder import write_film
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.overlay import Overlay

FRAMES, LOST = 6, 2


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    """Two colour cameras and one depth camera, frame 2 bridged."""
    made = write_take(tmp_path_factory.mktemp("film") / "take.zarr", rig(2, 1), FRAMES)
    states, state = np.full((FRAMES, 2), 3), np.zeros(FRAMES, np.uint8)
    states[LOST], state[LOST] = 1, 1
    write_landmarks(made, states)
    gaze = np.tile([0.0, 0.0, 1.0], (FRAMES, 2, 1))
    write_fit(
        made,
        {
            "frame_state": ResultArray(state, ("frame",)),
            "gaze": ResultArray(gaze, ("frame", "eye", "xyz")),
            "term_loss": ResultArray(np.ones((FRAMES, 1)), ("frame", "term"), "1", {"term": ("landmark",)}),
        },
    )
    return made


def _overlay(take: Take) -> Overlay:
    fit, marks = FittedHead.read(take), FoundLandmarks.read(take)
    assert fit is not None
    camera = best_view(take, fit, marks, [0])
    assert camera is not None and camera.id == "front"
    return Overlay(window_of(take, fit, camera, 200), fit, HeadLines.of(fit), marks)


def test_the_film_is_what_browsers_play(take: Take, tmp_path: Path) -> None:
    write_take_film(take, tmp_path / "report.webm")
    film = film_of(take, "report.webm")
    assert film is not None and (film.frames, film.step) == (FRAMES, 1)
    with av.open(str(tmp_path / "report.webm")) as container:
        stream = container.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name in ("vp9", "libvpx-vp9") and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
    assert len(shown) == FRAMES and shown[0].shape[:2] == film.size_hw
    assert all(side % 2 == 0 for side in film.size_hw)
    pictures = FilmPictures.of(take)
    assert pictures is not None
    for frame in (0, LOST):  # what was drawn, within what the codec loses
        assert np.abs(shown[frame].astype(int) - pictures.picture(frame)).mean() < 4


def test_the_same_take_gives_the_same_film(take: Take, tmp_path: Path) -> None:
    for name in ("a.webm", "b.webm"):
        write_take_film(Take.open(take.path), tmp_path / name)
    assert (tmp_path / "a.webm").read_bytes() == (tmp_path / "b.webm").read_bytes()


def test_a_bridged_frame_is_marked(take: Take) -> None:
    pictures = FilmPictures.of(take)
    assert pictures is not None
    alarm = np.array(film_module.ALARM_SRGB)

    def alarmed(frame: int) -> int:
        return int((pictures.picture(frame) == alarm).all(-1).sum())

    assert alarmed(LOST) > 2000 and alarmed(LOST + 1) == 0


def test_a_long_take_is_shown_at_its_own_speed(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_module, "MOST_FRAMES", 4)
    pictures, film = FilmPictures.of(take), film_of(take, "a.webm")
    assert pictures is not None and film is not None
    assert (pictures.step, film.frames) == (2, 3) and pictures.rate_hz == pytest.approx(12.5)


def test_one_picture_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def pictures():
        nonlocal most
        for level in range(12):
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))
            picture = np.full((64, 96, 3), 20 * level, np.uint8)
            alive.append(weakref.ref(picture))
            yield picture

    assert write_film(tmp_path / "a.webm", pictures(), 30.0, {}) == 12
    assert most <= 2


def test_a_film_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks():
        yield np.zeros((64, 64, 3), np.uint8)
        raise InputError("a chunk", "a damaged one", "restore it")

    with pytest.raises(InputError, match="damaged"):
        write_film(tmp_path / "a.webm", breaks(), 30.0, {})
    with pytest.raises(InputError, match="at least one frame"):
        write_film(tmp_path / "b.webm", [], 30.0, {})
    with pytest.raises(InputError, match="room to write"):
        write_film(tmp_path / "nowhere" / "c.webm", [np.zeros((64, 64, 3), np.uint8)], 30.0, {})
    assert list(tmp_path.iterdir()) == []


def test_page_and_film_belong_together_and_to_the_subject(take: Take, tmp_path: Path) -> None:
    page = tmp_path / "my report.html"
    assert write_report_files(take, page, "1")
    assert not write_report_files(take, page, "1")
    assert 'src="my%20report.webm"' in page.read_text() and "<video" in page.read_text()
    (tmp_path / LEDGER).unlink()  # moved elsewhere, without what vouches for them
    (tmp_path / "other.webm").write_bytes(b"\x1aE\xdf\xa3 somebody's film")
    found = find_subject("subject-9", place_of(tmp_path))
    assert {file.name for file in found.files} == {"my report.html", "my report.webm"} and not found.cannot_tell
    assert find_subject("somebody", place_of(tmp_path)).files == []


def test_without_a_head_there_is_a_page_and_no_film(tmp_path: Path) -> None:
    bare = write_take(tmp_path / "take.zarr", rig(1, 0), 2)
    assert write_report_files(bare, tmp_path / "out" / "report.html", "1")
    assert not (tmp_path / "out" / "report.webm").exists()
    assert "<video" not in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(InputError, match="HTML page"):
        write_report_files(bare, tmp_path / "out" / "report.webm", "1")


def test_a_sphere_is_found_again() -> None:
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(40, 3))
    directions[:, 2] = np.abs(directions[:, 2]) + 0.5  # a cap, as of an eye
    points = np.array([0.03, 1.3, 0.1]) + 0.012 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    centre, radius = fitted_sphere(points)
    np.testing.assert_allclose(centre, [0.03, 1.3, 0.1], atol=1e-9)
    assert radius == pytest.approx(0.012, abs=1e-9)


def test_irises_lie_on_the_eyeballs_where_the_eyes_look(take: Take) -> None:
    overlay = _overlay(take)
    assert overlay.lines is not None
    left, right = overlay.lines.irises(overlay.fit.vertices(0), 0)
    assert left[:, 0].mean() > right[:, 0].mean()  # +x is the subject's left
    for circle in (left, right):
        assert np.ptp(circle[:, 2]) < 1e-9  # across the gaze, +z
        np.testing.assert_allclose(np.linalg.norm(circle - circle.mean(0), axis=1), IRIS_RADIUS_M, atol=1e-9)
    turned = dict(overlay.fit.result.arrays)
    del turned[
        "gaze"
    ]  # of an earlier version: the pupils say where the eyes look, here straight ahead within 10 degrees
    older = HeadLines(FittedHead(type(overlay.fit.result)(turned, *_rest(overlay.fit))))
    for circle, stated in zip(older.irises(overlay.fit.vertices(0), 0), (left, right), strict=True):
        assert np.linalg.norm(circle.mean(0) - stated.mean(0)) < 0.003


def _rest(fit: FittedHead) -> tuple:
    return fit.result.provenance, fit.result.digest, fit.result.name


def test_fitted_and_detected_lines_of_a_perfect_fit_coincide(take: Take) -> None:
    overlay = _overlay(take)
    grey = np.full((*overlay.shot.size_hw, 3), 90, np.uint8)
    detected = overlay.detected(grey, 0, dots=False)
    both = overlay.lined(grey, 0)
    was, now = (detected != grey).any(-1), (both != detected).any(-1)
    assert was.sum() > 150
    rows, columns = np.nonzero(now)
    inside = [was[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].any() for r, c in zip(rows, columns, strict=True)]
    irises = 2 * 2 * np.pi * IRIS_RADIUS_M * 260 / 0.65 * overlay.shot.scale * 3  # not detected here; as many pixels
    assert len(inside) - sum(inside) < irises


def test_a_head_behind_nothing_changes_no_pixel_outside_of_it(take: Take) -> None:
    overlay = _overlay(take)
    plain = np.random.default_rng(0).integers(0, 256, (*overlay.shot.size_hw, 3), dtype=np.uint8)
    drawn = overlay.shaded(plain, 0)
    mask = overlay.shot.drawing(overlay.fit.vertices(0), overlay.fit.faces).fragments.mask
    rows, columns = overlay.shot.size_hw
    near = mask.reshape(rows, 2, columns, 2).any((1, 3))
    grown = np.zeros_like(near)
    for down in (-2, -1, 0, 1, 2):
        for across in (-2, -1, 0, 1, 2):
            grown |= np.roll(near, (down, across), (0, 1))
    assert (drawn[~grown] == plain[~grown]).all() and (drawn[near] != plain[near]).any(-1).mean() > 0.9
