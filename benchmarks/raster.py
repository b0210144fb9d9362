"""The rasterizer's speed, memory and agreement beside its peers: `python benchmarks/raster.py [--json]`.

Times are medians of 31 runs (15 on CUDA) after a warm-up. Ratios come from runs taken in turn within one process: a
machine's speed and its other work hit both alike, and so they compare between machines where milliseconds do not. Rows
go to standard error as they are measured, `--json` prints one object on standard output. What a machine cannot measure
(no CUDA, a peer that is not installed) is named with what it needs, and does not fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from raster_peers import agreement, embree, installed, nvdiffrast, pytorch3d
from raster_scene import FILLING, HeadViews, cuda_seconds, head_views, seconds, upstream
from torch import Tensor

from rendering.antialias import antialias
from rendering.interpolate import interpolate, interpolate_derivatives
from rendering.rasterize import rasterize
from rendering.texture import sample_texture
from workflows.benching import MACHINE_TOLERANCE, NEEDS, Metric, real_data

SIZE, TEXTURE_SIZE = 512, 1024
MEMORY_SIZES = ((1, 512), (2, 512), (4, 512), (8, 512), (1, 2048))
"""Views and rows of the pictures whose memory is taken; its growth is judged from a megapixel on."""
CUDA_VIEWS, CUDA_SIZE = 64, 1024
RATIO, MEMORY = 0.5, 0.25
"""Relative changes that mean something: of ratios of times, and of memory, which threads round to their pages."""
ROUNDING = 9.0
"""The same of errors at the last bits of float32, where other compilers round otherwise: a power of ten."""


@dataclass
class Table:
    """The figures so far; each goes to standard error when it comes."""

    metrics: list[Metric] = field(default_factory=list)
    """What was measured."""
    absent: dict[str, str] = field(default_factory=dict)
    """What was not, and which of NEEDS is missing."""

    def add(
        self, key: str, value: float, unit: str, tolerance: float, better: Literal["lower", "higher"] = "lower"
    ) -> None:
        self.metrics.append(Metric(f"raster_{key}", float(value), unit, better, tolerance))
        print(f"  raster_{key:<36} {value:10.4g} {unit}", file=sys.stderr)

    def add_ms(self, key: str, taken: float) -> None:
        self.add(key, taken * 1e3, "ms", MACHINE_TOLERANCE)

    def miss(self, need: str, *keys: str) -> None:
        self.absent |= {f"raster_{key}": need for key in keys}
        print(f"  no {NEEDS[need]} here: not measured: {', '.join(keys)}", file=sys.stderr)


def main() -> None:
    """All figures."""
    table = Table()
    scene = head_views(1, SIZE)
    threads = torch.get_num_threads()
    print(
        f"rasterizer: head of {len(scene.faces)} triangles, {FILLING:.0%} of the height of {SIZE}x{SIZE} pixels, "
        f"float32, {threads} threads",
        file=sys.stderr,
    )
    rasterizing(table, scene)
    views(table)
    shading(table, scene)
    stored_peer(table)
    pytorch3d_on_cpu(table, scene)
    first_call(table)
    memory(table)
    cuda(table)
    if "--json" in sys.argv[1:]:
        print(json.dumps({"metrics": [asdict(metric) for metric in table.metrics], "absent": table.absent}))


def rasterizing(table: Table, scene: HeadViews) -> None:
    """One view forward, beside Embree's; forward and backward; and Embree again with a head that fills the picture."""
    peer = embree(scene)
    ours = _forward(scene)
    times = seconds(ours, peer)
    table.add_ms("forward_ms_512", np.median(times[:, 0]))
    table.add_ms("embree_ms_512", np.median(times[:, 1]))
    table.add("vs_embree_512", np.median(times[:, 0] / times[:, 1]), "1", RATIO)
    same = (ours().face_index[0].numpy() == peer()).mean()
    table.add("embree_faces_equal", same, "1", 1e-3, "higher")  # both draw the same picture, or the ratio says nothing
    # Not beside Embree, whose threads go on spinning for a while and would hold up whatever comes after it.
    times = seconds(ours, _forward_backward(scene))
    table.add_ms("forward_backward_ms_512", np.median(times[:, 1]))
    table.add("backward_ratio_512", np.median(times[:, 1] / times[:, 0]), "1", RATIO)
    full = head_views(1, SIZE, filling=1.0)
    times = seconds(_forward(full), embree(full))
    table.add("vs_embree_512_full_height", np.median(times[:, 0] / times[:, 1]), "1", RATIO)


def views(table: Table) -> None:
    """Eight views in one call on two threads, in times of a single view on one thread."""
    if len(os.sched_getaffinity(0)) < 2:
        return table.miss("cores", "views_scaling")
    one, eight = _forward(head_views(1, SIZE)), _forward(head_views(8, SIZE))
    times = seconds(_on_threads(2, eight), _on_threads(1, one))
    table.add_ms("8_views_ms_512", np.median(times[:, 0]))
    table.add("views_scaling", np.median(times[:, 0] / times[:, 1]), "1", RATIO)
    return None


def shading(table: Table, scene: HeadViews) -> None:
    """What follows visibility: attributes, mip-mapped texture, antialiased edges. Backward is that pass alone."""
    screen = scene.vertices_screen
    fragments = rasterize(screen, scene.faces, scene.size_hw)
    leaf = replace(fragments, barycentric=fragments.barycentric.clone().requires_grad_())
    values = scene.uv.clone().requires_grad_()
    uv = interpolate(fragments, scene.uv_faces, scene.uv).requires_grad_()
    derivatives = interpolate_derivatives(fragments, screen, scene.faces, scene.uv, scene.uv_faces)
    texture = upstream((TEXTURE_SIZE, TEXTURE_SIZE, 3)).requires_grad_()
    image = upstream((1, *scene.size_hw, 3)).requires_grad_()
    edges = screen.clone().requires_grad_()
    steps: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
        "interpolate": (lambda: interpolate(leaf, scene.uv_faces, values), [leaf.barycentric, values]),
        "texture": (lambda: sample_texture(texture, uv, uv_derivatives=derivatives), [texture, uv]),
        "antialias": (lambda: antialias(image, fragments, edges, scene.faces), [image, edges]),
    }
    for name, (forward, inputs) in steps.items():
        table.add_ms(f"{name}_ms_512", np.median(seconds(forward)))
        result = forward()
        given = upstream(tuple(result.shape))
        backward = _backward(result, inputs, given)
        table.add_ms(f"{name}_backward_ms_512", np.median(seconds(backward)))


def stored_peer(table: Table) -> None:
    """Agreement with PyTorch3D's result for the same head at 256x256."""
    file = real_data() / "peers" / "pytorch3d_fragments.npz"
    if not file.is_file():
        keys = ("faces_equal", "depth_rel_error", "barycentric_rel_error", "gradient_rel_error")
        return table.miss("peers", *(f"pytorch3d_{key}" for key in keys))
    for key, value in agreement(file).items():
        higher = key == "faces_equal"
        table.add(f"pytorch3d_{key}", value, "1", 1e-4 if higher else ROUNDING, "higher" if higher else "lower")
    return None


def pytorch3d_on_cpu(table: Table, scene: HeadViews) -> None:
    """PyTorch3D takes seconds for a picture on a CPU, so that one is enough."""
    if not installed("pytorch3d"):
        return table.miss("pytorch3d", "vs_pytorch3d_512", "pytorch3d_ms_512")
    draw, screen = pytorch3d(scene), scene.vertices_screen
    ours = np.median(seconds(_forward(scene)))
    theirs = seconds(lambda: draw(screen), runs=1, warm_up=0)[0, 0]
    table.add_ms("pytorch3d_ms_512", theirs)
    table.add("vs_pytorch3d_512", ours / theirs, "1", RATIO)
    return None


def first_call(table: Table) -> None:
    """A new process's first picture, before and after its kernels are compiled."""
    with tempfile.TemporaryDirectory(prefix="mien-bench-cache-") as folder:
        for state in ("cold", "cached"):
            taken = _process("first-call", cache=folder)
            table.add(f"first_call_seconds_{state}", taken, "s", MACHINE_TOLERANCE)


def memory(table: Table) -> None:
    """Resident memory of a call by the number of its pixels: the slope, and how far it is from a straight line."""
    pixels = np.array([views * size**2 for views, size in MEMORY_SIZES], float)
    taken = np.array([_process("memory", views, size) for views, size in MEMORY_SIZES])
    print("  bytes per pixel: ", end="", file=sys.stderr)
    rows = zip(MEMORY_SIZES, taken / pixels, strict=True)
    print(", ".join(f"{views}x{size}x{size} {each:.1f}" for (views, size), each in rows), file=sys.stderr)
    large = (taken / pixels)[pixels >= 1e6]
    table.add("peak_bytes_per_pixel", np.polyfit(pixels, taken, 1)[0], "B", MEMORY)
    table.add("memory_linearity", large.max() / large.min(), "1", MEMORY)


def cuda(table: Table) -> None:
    """Forward and backward of a batch on a GPU, beside PyTorch3D and nvdiffrast where they are installed."""
    if not torch.cuda.is_available():
        return table.miss("cuda", "cuda_ms", "cuda_vs_pytorch3d", "cuda_vs_nvdiffrast")
    print(f"  {CUDA_VIEWS} views of {CUDA_SIZE}x{CUDA_SIZE} on {torch.cuda.get_device_name()}", file=sys.stderr)
    scene = head_views(CUDA_VIEWS, CUDA_SIZE, "cuda")
    ours = cuda_seconds(_forward_backward(scene))
    table.add_ms("cuda_ms", ours)
    for name, peer in {"pytorch3d": pytorch3d, "nvdiffrast": nvdiffrast}.items():
        if not installed(name):
            table.miss(name, f"cuda_vs_{name}")
            continue
        draw = peer(scene)
        vertices = scene.vertices_screen.clone().requires_grad_()
        given = [upstream(tuple(image.shape), "cuda") for image in draw(vertices)[-2:]]

        def step(draw: Callable = draw, vertices: Tensor = vertices, given: list[Tensor] = given) -> object:
            return torch.autograd.grad(draw(vertices)[-2:], [vertices], given)

        table.add(f"cuda_vs_{name}", ours / cuda_seconds(step), "1", RATIO)
    return None


def _forward(scene: HeadViews) -> Callable:
    return lambda: rasterize(scene.vertices_screen, scene.faces, scene.size_hw)


def _forward_backward(scene: HeadViews) -> Callable[[], object]:
    """Down to the vertices, from gradients of depth and barycentrics."""
    vertices = scene.vertices_screen.clone().requires_grad_()
    shape, device = (len(vertices), *scene.size_hw), vertices.device.type
    given = [upstream(shape, device), upstream((*shape, 3), device)]

    def step() -> object:
        fragments = rasterize(vertices, scene.faces, scene.size_hw)
        return torch.autograd.grad([fragments.depth, fragments.barycentric], [vertices], given)

    return step


def _backward(result: Tensor, inputs: list[Tensor], given: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(result, inputs, given, retain_graph=True)


def _on_threads(count: int, call: Callable[[], object]) -> Callable[[], object]:
    def step() -> object:
        with _threads(count):
            return call()

    return step


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def _process(*arguments: object, cache: str | None = None) -> float:
    """The number that `raster_process.py` prints; `cache` holds its kernels."""
    command = [sys.executable, str(Path(__file__).with_name("raster_process.py")), *map(str, arguments)]
    environment = os.environ | ({"MIEN_CACHE": cache} if cache else {})
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


if __name__ == "__main__":
    main()
