"""What needs a process of its own: the first picture's seconds and a picture's memory. One number on standard output.

python raster_process.py first-call          seconds from importing the rasterizer to the picture of one triangle
python raster_process.py memory VIEWS SIZE   bytes of resident memory that one call adds at its peak
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from pathlib import Path

import torch

TRIANGLE_SCREEN = [[2.0, 2.0, 1.0], [2.0, 60.0, 1.0], [60.0, 2.0, 1.0]]


def first_call() -> float:
    """Torch is there already: a user has imported it in any case."""
    vertices, faces = torch.tensor(TRIANGLE_SCREEN), torch.tensor([[0, 1, 2]], dtype=torch.int32)
    started = time.perf_counter()
    from rendering.rasterize import rasterize

    fragments = rasterize(vertices, faces, (64, 64))
    took = time.perf_counter() - started
    assert bool(fragments.mask.any()), "the triangle is in the picture"
    return took


def memory(views: int, size: int) -> int:
    """Kernels are loaded and threads started before; the fragments themselves count."""
    from raster_scene import head_views

    from rendering.rasterize import rasterize

    small, scene = head_views(1, 64), head_views(views, size)
    rasterize(small.vertices_screen, small.faces, small.size_hw)
    before = _forget_peak()
    fragments = rasterize(scene.vertices_screen, scene.faces, scene.size_hw)
    peak = _status("VmHWM") - before
    assert bool(fragments.mask.any()), "the head is in the picture"
    return peak


def _forget_peak() -> int:
    """Set the process's peak back to what it holds now, and say how much that is. Source: proc(5), clear_refs."""
    # What the process has freed goes back to the system, else the call would reuse it and seem to need less.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    print(first_call() if sys.argv[1] == "first-call" else memory(*map(int, sys.argv[2:])))
