"""The pinned sensor noise has the size that docs/conventions.md states."""

import numpy as np
import pytest

from studio.clocks import read_clock
from studio.sensors import SensorNoise, draw_sensor_noise, sense_colour, sense_depth

NOISY = SensorNoise(noisy=True)


@pytest.mark.parametrize("distance_m", [0.5, 0.8, 1.2])
def test_depth_noise_grows_with_distance_squared_and_is_half_correlated(distance_m):
    flat = np.full((300, 300), distance_m)
    counts = sense_depth(flat, np.ones_like(flat), 2e-5, NOISY, np.random.default_rng(0))
    error = counts * 2e-5 - distance_m
    assert error.std() == pytest.approx(1.5e-3 * (distance_m / 0.8) ** 2, rel=0.06)
    neighbour = np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1]
    assert 0.35 < neighbour < 0.55
    assert abs(np.corrcoef(error[:, :-20].ravel(), error[:, 20:].ravel())[0, 1]) < 0.05


def test_edges_fly_grazing_pixels_are_lost_and_depth_is_quantised():
    scene = np.zeros((120, 120))
    scene[20:100, 20:100] = 0.7
    cosine = np.ones_like(scene)
    cosine[40:60, 40:60] = 0.1
    counts = sense_depth(scene, cosine, 1e-3, NOISY, np.random.default_rng(1))
    edge = counts[20, 20:100] * 1e-3
    assert 0.3 < (edge > 0.712).mean() < 0.6, "about half of the edge flies"
    assert 0.6 < (counts[40:60, 40:60] == 0).mean() < 0.8
    assert counts.dtype == np.uint16 and (counts[:20] == 0).all()


def test_a_perfect_sensor_only_quantises():
    scene = np.random.default_rng(2).uniform(0.5, 1, (50, 50))
    counts = sense_depth(scene, np.zeros_like(scene), 1e-3, SensorNoise(), np.random.default_rng(0))
    assert np.abs(counts * 1e-3 - scene).max() <= 0.5e-3 + 1e-9


def test_colour_noise_is_two_grey_levels_and_cameras_differ():
    grey = np.full((200, 200, 3), 0.2, np.float32)
    clean = sense_colour(grey, SensorNoise(), np.random.default_rng(0))
    noisy = sense_colour(grey, NOISY, np.random.default_rng(0)).astype(float)
    assert clean.std() == 0
    assert noisy.std() == pytest.approx(2.0, rel=0.08)
    gains = {draw_sensor_noise("kinect", 0, camera).gain_rgb for camera in range(4)}
    assert len(gains) == 4
    biases = [draw_sensor_noise("kinect", seed, 0).depth_bias_m for seed in range(200)]
    assert np.std(biases) == pytest.approx(5e-4, rel=0.2)
    assert draw_sensor_noise("none", 0, 0) == SensorNoise()


def test_clocks_start_anywhere_drift_a_little_and_arrive_late():
    times = np.arange(3000) / 30
    clocks = [read_clock(times, 0, camera) for camera in range(4)]
    assert len({int(clock.device_ns[0] // 10**9) for clock in clocks}) > 1
    for clock in clocks:
        rate = np.polyfit(times, clock.device_ns / 1e9, 1)[0]
        assert 0 < abs(rate - 1) < 6e-5
        assert (np.diff(clock.device_ns) > 0).all() and (np.diff(clock.host_ns) >= 0).all()
        latency = clock.host_ns - clock.host_ns[0] - times * 1e9
        assert latency.std() < 5e6
