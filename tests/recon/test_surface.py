"""A take's frame set becomes a coloured surface, or an error that says why not."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from recon.surface import FusedSurface, ReconConfig, fuse_frame
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.take import FrameQuality, Sync, Take, TakeHeader
from tests.recon.analytic_scene import CENTRE, LENS, error_mm, four_cameras, sphere_depth

HEADER = TakeHeader("take-1", "subject-1", "research", "CC0-1.0", "/recordings/1", "d1", "simulated", "0.1", "c1")
SKIN = (180, 120, 100)
UNIT_M = 1e-4


def _take(path: Path, counts_per_m: float = 1 / UNIT_M) -> Take:
    """Two frame sets of a sphere; in the second, camera d1 has no frame and the others measured nothing."""
    depth = [replace(camera, depth_unit_m=UNIT_M) for camera in four_cameras(LENS)]
    colour = replace(depth[1], id="colour", kind="rgb", depth_unit_m=None)
    rig = Rig((colour, *depth))
    with _begin(path, rig) as writer:
        for camera in rig.cameras:
            for _ in writer.pending_shards(camera.id):
                writer.write_shard(camera.id, range(2), iter(_frames(camera, counts_per_m)))
            writer.write_clock(camera.id, np.array([0, 33_000_000], np.int64))
            writer.write_quality(camera.id, FrameQuality())
        index = np.array([[0] * 5, [1, 1, -1, 1, 1]], np.int32)
        writer.write_sync(Sync(np.array([0, 33_000_000], np.int64), index))
        writer.finish()
    return Take.open(path)


def _begin(path: Path, rig: Rig) -> TakeWriter:
    config: dict[str, Any] = {}
    writer = TakeWriter.begin(
        path, header=HEADER, rig=rig, streams={each: StreamPlan(2) for each in rig.ids}, config=config
    )
    assert writer is not None
    return writer


def _frames(camera: Camera, counts_per_m: float) -> list[np.ndarray]:
    if camera.kind == "rgb":
        return [np.full((*camera.image_size_hw, 3), SKIN, np.uint8)] * 2
    counts = np.clip(np.round(sphere_depth(camera) * counts_per_m), 0, 65535).astype(np.uint16)
    return [counts, np.zeros_like(counts)]


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    return _take(tmp_path_factory.mktemp("take") / "take.zarr")


@pytest.fixture(scope="module")
def surface(take: Take) -> FusedSurface:
    return fuse_frame(take, 0, ReconConfig())


def test_surface_of_a_frame_set(surface: FusedSurface) -> None:
    assert np.median(np.abs(error_mm(surface.mesh))) < 0.1
    assert surface.mesh.colours is not None and (surface.mesh.colours == SKIN).all()
    radial = (surface.mesh.vertices - CENTRE) / np.linalg.norm(surface.mesh.vertices - CENTRE, axis=1, keepdims=True)
    assert np.percentile((surface.normals * radial).sum(1), 1) > 0.97


def test_counts_say_what_went_in(surface: FusedSurface, take: Take) -> None:
    counts = surface.counts
    assert counts.cameras_used == 4 and counts.cameras_without_frame == ()
    depth = [take.depth_m(camera.id, 0) for camera in take.rig.depth]
    assert counts.pixels.measured == sum(np.count_nonzero(image) for image in depth if image is not None)
    assert counts.pixels.kept > 0.9 * counts.pixels.measured
    assert (counts.vertices, counts.triangles) == (len(surface.mesh.vertices), len(surface.mesh.faces))
    assert asdict(counts)["pixels"]["flying"] == counts.pixels.flying


def test_a_frame_set_without_measurements_is_an_error(take: Take) -> None:
    with pytest.raises(InputError, match="no depth at all in 3 views"):
        fuse_frame(take, 1, ReconConfig())


def test_a_wrong_unit_is_an_error(tmp_path: Path) -> None:
    take = _take(tmp_path / "take.zarr", counts_per_m=1000)
    with pytest.raises(InputError, match=r"depth unit of 0.0001 m.*0.001 m would put"):
        fuse_frame(take, 0, ReconConfig())


def test_a_take_without_depth_is_an_error(take: Take) -> None:
    colour_only = replace(take, rig=Rig(take.rig.rgb))
    with pytest.raises(InputError, match="a depth frame to fuse"):
        fuse_frame(colour_only, 0, ReconConfig())
