"""The baked texture repeats what the cameras saw, and admits what they did not."""

import numpy as np
import pytest
import torch

from flame_fitting.evidence import DepthImage
from flame_fitting.models.registry import load_head_model
from flame_fitting.texture import PosedView, bake_texture, supported_vertices
from geometry.cameras import Camera
from geometry.transforms import look_at
from rendering.arrays import interpolate_arrays, rasterize_arrays

MODEL = load_head_model()
VERTICES = MODEL.template.numpy().astype(float)
FACES = MODEL.faces.numpy()


def camera(eye: list[float], kind: str = "rgb") -> Camera:
    K = np.array([[700.0, 0, 200], [0, 700, 200], [0, 0, 1]])
    middle = VERTICES[MODEL.region("face").numpy()].mean(0)
    here = look_at(middle + eye, middle, np.array([0.0, 1.0, 0.0]))
    unit = 1e-3 if kind == "depth" else None
    return Camera("c", "m", kind, (400, 400), K, np.zeros(0), here, depth_unit_m=unit)  # pyright: ignore


def painted(seen_by: Camera) -> PosedView:
    """A head whose colour is its position, as a picture shows it."""
    pixels, depth = seen_by.project(VERTICES)
    fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), FACES, (400, 400))
    colour = interpolate_arrays(fragments, FACES, vertex_colours())
    return PosedView(seen_by, np.round(colour).astype(np.uint8), VERTICES, np.ones(len(VERTICES), bool))


def vertex_colours() -> np.ndarray:
    low, high = VERTICES.min(0), VERTICES.max(0)
    return 40 + 180 * (VERTICES - low) / (high - low)


def texels(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each texel's triangle (-1 outside) and its true colour."""
    uv = MODEL.uv.numpy()
    screen = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], 1)
    layout = rasterize_arrays(screen, MODEL.uv_faces.numpy(), (size, size))
    return layout.face_index, interpolate_arrays(layout, FACES, vertex_colours())


@pytest.fixture(scope="module")
def baked():
    views = tuple(painted(camera(eye)) for eye in ([0.0, 0.0, 0.6], [0.45, 0.0, 0.4], [-0.45, 0.0, 0.4]))
    return bake_texture(MODEL, views, 512)


def test_seen_texels_have_the_colour_that_was_painted(baked):
    index, true = texels(512)
    face = MODEL.region_faces("face").numpy()
    on_face = (index >= 0) & face[index] & baked.seen
    error = np.abs(baked.base_colour[on_face].astype(float) - true[on_face]).max(1)
    assert np.median(error) < 2 and np.percentile(error, 95) < 8
    # The rest is nostrils, the underside of the chin and what all three cameras graze.
    assert baked.seen[(index >= 0) & face[index]].mean() > 0.75


def test_the_back_of_the_head_is_filled_and_said_to_be(baked):
    index, _ = texels(512)
    behind = VERTICES[FACES].mean(1)[:, 2] < -0.04
    back = (index >= 0) & behind[index] & MODEL.region_faces("scalp").numpy()[index]
    assert not baked.seen[back].any()
    assert baked.base_colour[back].min() > 20, "filled from the skin, not left black"


def test_nothing_is_taken_from_where_nothing_was_measured():
    view = painted(camera([0.0, 0.0, 0.6]))
    blind = PosedView(view.camera, view.picture, VERTICES, np.zeros(len(VERTICES), bool))
    assert not bake_texture(MODEL, (blind,), 256).seen.any()
    depth_camera = camera([0.0, 0.0, 0.6], "depth")
    pixels, depth = depth_camera.project(VERTICES)
    fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), FACES, (400, 400))
    near = supported_vertices(VERTICES, (DepthImage(depth_camera, fragments.depth),))
    far = supported_vertices(VERTICES, (DepthImage(depth_camera, fragments.depth + 0.2),))
    face = MODEL.region("face").numpy()
    assert near[face].mean() > 0.9 and not far[face].any()
    assert supported_vertices(VERTICES, ()).all()
    assert torch.equal(MODEL.faces, torch.from_numpy(FACES))
