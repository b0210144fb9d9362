"""Fusion of analytic depth: exact to a tenth of a millimetre, in the right pixel convention, never empty."""

import numpy as np
import pytest

from geometry.errors import InputError
from geometry.meshes import face_normals
from recon.depth.cleaning import CleaningConfig, clean_depth
from recon.fusion.trimming import Trimming, border_edges, face_components
from recon.fusion.tsdf import DepthView, FusionConfig, fuse_tsdf
from tests.recon.analytic_scene import (
    CENTRE,
    LENS,
    RADIUS_M,
    depth_camera,
    error_mm,
    four_cameras,
    outward,
    shifted_K,
    sphere_depth,
    sphere_views,
)


@pytest.mark.parametrize("lens", [None, LENS], ids=["pinhole", "distorted"])
def test_sphere_is_exact_and_faces_outwards(lens: np.ndarray | None) -> None:
    mesh = fuse_tsdf(sphere_views(four_cameras(lens)), FusionConfig())
    error = np.abs(error_mm(mesh))
    assert np.median(error) < 0.1 and np.percentile(error, 95) < 1.0, f"{np.median(error):.4f} mm"
    assert np.percentile(outward(mesh), 2) > 0.9
    area = np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1).sum() / 2
    assert 0.55 < area / (4 * np.pi * RADIUS_M**2) < 0.95


def test_without_pixels_at_the_silhouette_the_sphere_is_exact_to_a_hundredth() -> None:
    views = sphere_views(four_cameras(LENS))
    config = CleaningConfig(smoothing_px=0)
    cleaned = [DepthView(view.camera, clean_depth(view.depth_m, view.camera, config)[0]) for view in views]
    mesh = fuse_tsdf(cleaned, FusionConfig())
    error = np.abs(error_mm(mesh))
    assert np.median(error) < 0.02, f"{np.median(error):.4f} mm"
    assert np.percentile(error, 95) < 0.2 and error.max() < 1.0
    assert outward(mesh).min() > 0.8


def test_sphere_is_one_manifold_sheet() -> None:
    mesh = fuse_tsdf(sphere_views(four_cameras()), FusionConfig())
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    _, triangles_per_edge = np.unique(edges, axis=0, return_counts=True)
    assert triangles_per_edge.max() == 2
    assert face_components(mesh.faces, len(mesh.vertices)).max() == 0


@pytest.mark.parametrize("lens", [None, LENS], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("pixels", [-0.5, 0.5])
def test_half_a_pixel_off_is_measurably_worse(lens: np.ndarray | None, pixels: float) -> None:
    cameras = four_cameras(lens)
    right = fuse_tsdf(sphere_views(cameras), FusionConfig())
    off = [DepthView(shifted_K(camera, pixels), sphere_depth(camera)) for camera in cameras]
    wrong = fuse_tsdf(off, FusionConfig())
    assert np.median(np.abs(error_mm(wrong))) > 5 * np.median(np.abs(error_mm(right)))
    assert np.median(np.abs(error_mm(wrong))) > 0.15


def test_one_camera_is_enough() -> None:
    camera = depth_camera("only", 10.0, 0.6)
    mesh = fuse_tsdf(sphere_views([camera]), FusionConfig())
    # A camera at distance d sees the cap (1 - r / d) / 2 of a sphere; the rim is lost to grazing pixels.
    distance = np.linalg.norm(camera.centre_world - CENTRE)
    cap = 2 * np.pi * RADIUS_M**2 * (1 - RADIUS_M / distance)
    area = np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1).sum() / 2
    assert area > 0.7 * cap
    assert np.median(np.abs(error_mm(mesh))) < 0.05


def test_the_same_input_gives_the_same_mesh() -> None:
    first, second = (fuse_tsdf(sphere_views(four_cameras(LENS)), FusionConfig()) for _ in range(2))
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()


def test_views_in_another_order_give_the_same_surface() -> None:
    views = sphere_views(four_cameras())
    forwards, backwards = fuse_tsdf(views, FusionConfig()), fuse_tsdf(views[::-1], FusionConfig())
    assert len(forwards.vertices) == len(backwards.vertices)
    assert np.abs(np.abs(error_mm(forwards)).mean() - np.abs(error_mm(backwards)).mean()) < 1e-3


def test_crop_keeps_what_is_near_its_centre() -> None:
    top = CENTRE + np.array([0.0, 0.0, RADIUS_M])
    config = FusionConfig(crop_centre_m=tuple(top.tolist()), crop_radius_m=0.03)
    mesh = fuse_tsdf(sphere_views(four_cameras()), config)
    assert np.linalg.norm(mesh.vertices - top, axis=1).max() < 0.035
    assert len(border_edges(mesh.faces, len(mesh.vertices))) > 0


def test_floating_bits_are_dropped() -> None:
    camera = depth_camera("only", 10.0, 0.6)
    depth = sphere_depth(camera)
    depth[5:12, 5:12] = 0.5
    without = fuse_tsdf([DepthView(camera, depth)], FusionConfig())
    kept = Trimming(border_rings=0, smallest_component_m2=0)
    with_bit = fuse_tsdf([DepthView(camera, depth)], FusionConfig(trimming=kept))
    assert np.abs(error_mm(without)).max() < 5
    assert np.abs(error_mm(with_bit)).max() > 50


def test_no_depth_is_an_error_that_says_so() -> None:
    views = [DepthView(camera, np.zeros(camera.image_size_hw, np.float32)) for camera in four_cameras()]
    with pytest.raises(InputError, match="no depth at all in 4 views"):
        fuse_tsdf(views, FusionConfig())
    with pytest.raises(InputError, match="no depth at all in 0 views"):
        fuse_tsdf([], FusionConfig())


def test_a_wrong_unit_is_an_error_that_names_the_range() -> None:
    views = [DepthView(view.camera, view.depth_m * np.float32(1000)) for view in sphere_views(four_cameras())]
    with pytest.raises(InputError, match=r"d0 4\d\d to \d+ m.*depth unit") as caught:
        fuse_tsdf(views, FusionConfig())
    assert "0.1 and 3 m" in caught.value.expected


def test_a_scene_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(InputError, match="crop the scene"):
        fuse_tsdf(sphere_views(four_cameras()), FusionConfig(block_count=10))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="voxel_size_m above 0"):
        FusionConfig(voxel_size_m=0)
    with pytest.raises(InputError, match="truncation_voxels above 0"):
        FusionConfig(truncation_voxels=-1)
