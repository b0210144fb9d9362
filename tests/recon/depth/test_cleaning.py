"""Cleaning removes what no surface made, says how much, and leaves the rest; wrong units are named."""

from dataclasses import replace

import numpy as np
import pytest

from geometry.errors import InputError
from recon.depth.cleaning import CleaningConfig, CleaningCounts, check_depth_range, clean_depth
from tests.recon.analytic_scene import LENS, depth_camera, sphere_depth

CAMERA = depth_camera("d0", 10.0, 0.6, LENS)
AS_MEASURED = CleaningConfig(
    subject_reach_m=0,
    edge_px=0,
    least_support=0,
    smallest_patch_px=0,
    smoothing_px=0,
    step_smoothing_px=0,
    least_cosine=0,
)


def _edge(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def test_everything_off_changes_nothing() -> None:
    depth = sphere_depth(CAMERA)
    cleaned, counts = clean_depth(depth, CAMERA, AS_MEASURED)
    assert np.array_equal(cleaned, depth)
    assert counts == CleaningCounts(measured=int(np.count_nonzero(depth))) and counts.kept == counts.measured


def test_a_clean_surface_is_hardly_touched() -> None:
    depth = sphere_depth(CAMERA)
    cleaned, counts = clean_depth(depth, CAMERA, CleaningConfig())
    assert counts.kept > 0.9 * counts.measured
    assert counts.speckle == counts.background == 0
    kept = cleaned > 0
    assert np.median(np.abs(cleaned - depth)[kept]) < 1e-4


def test_flying_pixels_go_and_are_counted() -> None:
    true = sphere_depth(CAMERA)
    rng = np.random.default_rng(0)
    flying = _edge(true > 0) & (rng.random(true.shape) < 0.5)
    depth = np.where(flying, true + 0.06 * rng.random(true.shape), true).astype(np.float32)
    cleaned, counts = clean_depth(depth, CAMERA, CleaningConfig(smoothing_px=0))
    assert not cleaned[flying].any()
    assert counts.flying >= np.count_nonzero(flying)
    kept = cleaned > 0
    assert np.array_equal(cleaned[kept], true[kept])
    assert counts.kept == np.count_nonzero(kept) > 0.85 * np.count_nonzero(true)


def test_edges_between_two_surfaces_go_and_the_surfaces_stay() -> None:
    depth = np.full(CAMERA.image_size_hw, 0.6, np.float32)
    depth[:, 160:] = 0.9
    depth[:, 160] = 0.75
    cleaned, counts = clean_depth(depth, CAMERA, replace(AS_MEASURED, edge_px=1))
    assert not cleaned[:, 159:162].any() and cleaned[2:-2, 2:158].all() and cleaned[2:-2, 163:-2].all()
    assert counts.flying == np.count_nonzero(depth) - np.count_nonzero(cleaned)


def test_where_neighbours_decide_flying_pixels_go_and_the_rims_of_surfaces_stay() -> None:
    depth = np.full(CAMERA.image_size_hw, 0.6, np.float32)
    depth[:, 160:] = 0.9
    rng = np.random.default_rng(0)
    flying = np.zeros(depth.shape, bool)
    flying[:, 160] = rng.random(len(depth)) < 0.5
    depth[flying] = rng.uniform(0.65, 0.85, int(flying.sum()))
    cleaned, counts = clean_depth(depth, CAMERA, replace(AS_MEASURED, least_support=4))
    assert not cleaned[flying].any()
    assert cleaned[1:-1, 1:160].all(), "the nearer surface up to its rim"
    assert counts.flying < 1.6 * flying.sum()


def test_speckle_goes_and_is_counted() -> None:
    depth = sphere_depth(CAMERA)
    depth[10:15, 20:27] = 0.4
    cleaned, counts = clean_depth(depth, CAMERA, replace(AS_MEASURED, smallest_patch_px=200))
    assert not cleaned[10:15, 20:27].any()
    # A few pixels of the sphere's rim are so steep that they hang together with nothing.
    assert 35 <= counts.speckle <= 50
    assert counts.kept == np.count_nonzero(cleaned)


def test_grazing_measurements_go_and_are_counted() -> None:
    depth = sphere_depth(CAMERA)
    cleaned, counts = clean_depth(depth, CAMERA, replace(AS_MEASURED, least_cosine=0.5))
    assert counts.grazing == counts.measured - counts.kept > 0
    # On a sphere seen from d radii away, cosine c starts at (1 - c^2) of the silhouette's squared radius, nearly.
    assert abs(counts.kept / counts.measured - 0.75) < 0.04
    assert np.array_equal(cleaned[cleaned > 0], depth[cleaned > 0])


def test_background_goes_and_is_counted() -> None:
    depth = sphere_depth(CAMERA)
    wall = depth == 0
    depth[wall] = 2.0
    cleaned, counts = clean_depth(depth, CAMERA, CleaningConfig())
    assert counts.background == np.count_nonzero(wall)
    assert not cleaned[wall].any() and (cleaned > 0).any()


def test_smoothing_averages_noise_and_keeps_steps() -> None:
    rng = np.random.default_rng(0)
    true = np.full(CAMERA.image_size_hw, 0.6, np.float32)
    true[:, 160:] = 0.64
    noisy = (true + 8e-4 * rng.normal(size=true.shape)).astype(np.float32)
    cleaned, _ = clean_depth(noisy, CAMERA, replace(AS_MEASURED, smoothing_px=2.0))
    assert np.std(cleaned - true) < 0.3 * np.std(noisy - true)
    assert np.abs((cleaned - true)[:, 155:165]).max() < 3e-3


def test_coarse_quantisation_is_smoothed_like_noise() -> None:
    true = sphere_depth(CAMERA)
    inverse = np.divide(1, true, out=np.zeros_like(true), where=true > 0)
    stepped = np.round(inverse / 0.008) * np.float32(0.008)
    quantised = np.divide(1, stepped, out=np.zeros_like(true), where=true > 0)
    cleaned, _ = clean_depth(quantised, CAMERA, CleaningConfig(smoothing_px=0))
    kept = cleaned > 0
    assert np.median(np.abs(cleaned - true)[kept]) < 0.35 * np.median(np.abs(quantised - true)[kept])
    assert np.count_nonzero(kept) > 0.9 * np.count_nonzero(true)


def test_nothing_measured_stays_nothing() -> None:
    cleaned, counts = clean_depth(np.zeros(CAMERA.image_size_hw, np.float32), CAMERA, CleaningConfig())
    assert not cleaned.any() and counts == CleaningCounts()


def test_counts_add_up() -> None:
    depth = sphere_depth(CAMERA)
    _, one = clean_depth(depth, CAMERA, CleaningConfig())
    assert (one + one).measured == 2 * one.measured and (one + one).kept == 2 * one.kept


def test_another_image_size_is_an_error() -> None:
    with pytest.raises(InputError, match=r"240 x 320 pixels from d0.*10 x 10"):
        clean_depth(np.ones((10, 10), np.float32), CAMERA, CleaningConfig())


def test_plausible_range_passes() -> None:
    check_depth_range(sphere_depth(CAMERA), CAMERA)
    check_depth_range(np.zeros(CAMERA.image_size_hw, np.float32), CAMERA)


@pytest.mark.parametrize(("factor", "likely"), [(1000, "1e-06 m"), (1e-3, "1 m"), (10, "0.0001 m"), (0.1, "0.01 m")])
def test_a_wrong_unit_is_an_error_that_names_the_likely_one(factor: float, likely: str) -> None:
    depth = sphere_depth(CAMERA) * np.float32(factor)
    with pytest.raises(InputError) as caught:
        check_depth_range(depth, CAMERA)
    assert "d0" in caught.value.expected and "0.001 m" in caught.value.got
    assert likely in caught.value.remedy and "0.5" in caught.value.remedy
