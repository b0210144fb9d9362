"""Which landmarks a fitted head says are seen, with hands and headsets of known places before it."""

import dataclasses

import numpy as np
import pytest
from jaxtyping import Float

from flame_fitting.evidence import DepthImage
from flame_fitting.landmarks.head_visibility import visibility_from_head
from geometry.cameras import Camera
from geometry.transforms import look_at
from studio.presets import FACE_CENTRE
from tests.flame_fitting.landmarks.simulated import cameras, depth_images, head, stage, true_landmarks

NOSE_TIP, RIGHT_CHEEK, LEFT_CHEEK, FOREHEAD, CHIN = 1, 50, 280, 10, 152


def _seen(camera: Camera, depth: tuple[DepthImage, ...] = ()) -> dict[int, bool]:
    index, points = true_landmarks(head())
    seen = visibility_from_head(points, head(), stage().subject.faces, camera, depth)
    return dict(zip(index.tolist(), seen.tolist(), strict=True))


def _with_plate(depth: tuple[DepthImage, ...], height_m: tuple[float, float], ahead_m: float) -> tuple[DepthImage, ...]:
    """The same pictures with a flat plate before the face, as wide as it and between two heights over its middle."""
    held = []
    for image in depth:
        world, _ = image.camera.unproject_depth(np.ones(image.depth_m.shape, np.float32))
        origin = image.camera.centre_world
        ray = world - origin
        # Where each ray meets the plane of the plate, in units of one metre along the camera's axis.
        reach = (FACE_CENTRE[2] + ahead_m - origin[2]) / ray[..., 2]
        at = origin + ray * reach[..., None]
        low, high = (FACE_CENTRE[1] + value for value in height_m)
        on = (np.abs(at[..., 0]) < 0.1) & (at[..., 1] > low) & (at[..., 1] < high) & (reach > 0)
        held.append(dataclasses.replace(image, depth_m=np.where(on, reach, image.depth_m).astype(np.float32)))
    return tuple(held)


def _camera_at(azimuth_deg: float) -> Camera:
    angle = np.radians(azimuth_deg)
    place = FACE_CENTRE + 0.7 * np.array([np.sin(angle), 0.0, np.cos(angle)])
    return dataclasses.replace(cameras()[0], world_from_camera=look_at(place, FACE_CENTRE, np.array([0.0, 1.0, 0.0])))


def test_a_frontal_view_shows_the_whole_face() -> None:
    seen = _seen(_camera_at(0))
    assert np.mean(list(seen.values())) > 0.95
    assert all(seen[name] for name in (NOSE_TIP, RIGHT_CHEEK, LEFT_CHEEK, CHIN))


@pytest.mark.parametrize(
    ("azimuth_deg", "near", "far"), [(80, LEFT_CHEEK, RIGHT_CHEEK), (-80, RIGHT_CHEEK, LEFT_CHEEK)]
)
def test_the_far_cheek_has_no_vote(azimuth_deg: float, near: int, far: int) -> None:
    seen = _seen(_camera_at(azimuth_deg))
    assert seen[near] and not seen[far]


def test_from_behind_nothing_is_seen() -> None:
    assert not any(_seen(_camera_at(180)).values())


def test_the_heads_own_depth_hides_nothing() -> None:
    for camera in cameras():
        alone, measured = _seen(camera), _seen(camera, depth_images(head()))
        differing = [name for name in alone if alone[name] != measured[name]]
        assert len(differing) <= 0.01 * len(alone), f"{camera.id}: {differing}"


@pytest.mark.parametrize("ahead_m", [0.05, 0.09])
def test_a_headset_hides_what_lies_behind_it_and_nothing_else(ahead_m: float) -> None:
    worn = _with_plate(depth_images(head()), (0.01, 0.07), ahead_m)
    index, points = true_landmarks(head())
    for camera in cameras():
        bare, seen = _seen(camera), _seen(camera, worn)
        # Where the way from the camera to each landmark meets the plate's plane, and how far inside the plate that is.
        ray = points - camera.centre_world
        at = camera.centre_world + ray * ((FACE_CENTRE[2] + ahead_m - camera.centre_world[2]) / ray[:, 2])[:, None]
        across, height = np.abs(at[:, 0] - FACE_CENTRE[0]), at[:, 1] - FACE_CENTRE[1]
        inside_m = np.minimum.reduce([0.1 - across, height - 0.01, 0.07 - height])
        shown = np.array([bare[name] for name in index.tolist()])
        kept = np.array([seen[name] for name in index.tolist()])
        behind, free = shown & (inside_m > 0.005), shown & (inside_m < -0.005)
        assert behind.sum() > 30 and free.sum() > 60
        assert kept[behind].mean() < 0.05, f"{camera.id}: {kept[behind].mean():.2f} of the hidden ones vote"
        assert kept[free].mean() > 0.97, f"{camera.id}: {kept[free].mean():.2f} of the free ones vote"


def test_a_single_flying_pixel_is_no_hand() -> None:
    depth = list(depth_images(head()))
    counts = depth[2].depth_m.copy()
    rows, columns = np.nonzero(counts)
    chosen = np.random.default_rng(3).choice(len(rows), 12, replace=False)
    counts[rows[chosen], columns[chosen]] -= 0.08
    depth[2] = dataclasses.replace(depth[2], depth_m=counts)
    clean, noisy = _seen(cameras()[2], depth_images(head())), _seen(cameras()[2], tuple(depth))
    assert clean == noisy


def test_outside_the_image_is_not_seen() -> None:
    camera = cameras()[2]
    up, behind = np.array([0.0, 3.0, 0.0]), np.array([0.0, 0.0, 0.5])
    points = np.array([FACE_CENTRE, FACE_CENTRE + up, camera.centre_world + behind])
    seen = visibility_from_head(points, head(), stage().subject.faces, camera, ())
    assert not seen[1] and not seen[2]
    gone: Float[np.ndarray, "v 3"] = head() + np.array([0.0, 30.0, 0.0])
    assert not visibility_from_head(points, gone, stage().subject.faces, camera, ()).any()
