"""What `raster.py` draws, and how it takes times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from flame_fitting.models.registry import load_head_model

FILLING = 0.6
"""Height of the frontal head in the picture."""
DISTANCE_M = 0.55
"""From the camera to the middle of the head; a desk camera's."""
LARGEST_TURN = np.pi / 3
"""The views of a batch turn the head from the one side to the other."""
WARM_UP, RUNS, CUDA_RUNS = 3, 31, 15


@dataclass(frozen=True, eq=False)
class HeadViews:
    """The project's head in front of a pinhole camera, once for each view."""

    vertices_camera: Float[Tensor, "b v 3"]
    """OpenCV camera axes, metres."""
    vertices_screen: Float[Tensor, "b v 3"]
    """x and y in pixels, z in metres."""
    faces: Int32[Tensor, "f 3"]
    """Triangles, counter-clockwise from outside."""
    uv: Float[Tensor, "u 2"]
    """Texture coordinates."""
    uv_faces: Int32[Tensor, "f 3"]
    """Row of `uv` of each triangle's corners."""
    size: int
    """Rows and columns, pixels."""
    focal_px: float
    """Focal length; the axis meets the middle of the picture."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size, self.size

    @property
    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """The camera's K."""
        middle = self.size / 2
        return np.array([[self.focal_px, 0.0, middle], [0.0, self.focal_px, middle], [0.0, 0.0, 1.0]])


def head_views(views: int, size: int, device: str = "cpu", filling: float = FILLING) -> HeadViews:
    """Views of the head in float32, turned about its upright axis; a single one is frontal."""
    model = load_head_model().to(device)
    points = model.template.float()
    points = points - (points.amin(0) + points.amax(0)) / 2
    turns = torch.linspace(-LARGEST_TURN, LARGEST_TURN, views, device=device) if views > 1 else torch.zeros(1)
    cos, sin = turns.cos().to(device)[:, None], turns.sin().to(device)[:, None]
    x, y, z = points.unbind(1)
    # The head's y points up and it looks along +z; the camera's y points down and it looks at the head.
    camera = torch.stack([cos * x + sin * z, -y.expand(views, -1), DISTANCE_M + sin * x - cos * z], -1)
    height = float(points[:, 1].amax() - points[:, 1].amin())
    focal_px = filling * size * DISTANCE_M / height
    screen = torch.cat([focal_px * camera[..., :2] / camera[..., 2:] + size / 2, camera[..., 2:]], -1).contiguous()
    faces, uv_faces = model.faces.int().contiguous(), model.uv_faces.int().contiguous()
    return HeadViews(camera.contiguous(), screen, faces, model.uv.float().contiguous(), uv_faces, size, focal_px)


def upstream(shape: tuple[int, ...], device: str = "cpu") -> Tensor:
    """Normally distributed gradients, the same on every run."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(0), device=device)


def seconds(*calls: Callable[[], object], runs: int = RUNS, warm_up: int = WARM_UP) -> Float[np.ndarray, "r c"]:
    """Times of the calls after a warm-up, taken in turn, so that a disturbance of the machine hits all alike."""
    for call in calls:
        for _ in range(warm_up):
            call()
    times = np.empty((runs, len(calls)))
    for run in range(runs):
        for number, call in enumerate(calls):
            started = time.perf_counter()
            call()
            times[run, number] = time.perf_counter() - started
    return times


def cuda_seconds(call: Callable[[], object], runs: int = CUDA_RUNS) -> float:
    """Median time of a call on the GPU, by CUDA's own events."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(runs):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        call()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 1e3)
    return float(np.median(times))
