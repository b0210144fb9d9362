"""What a take holds that a report can show; what is not there is None."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import HEAD_MODELS, load_head_model, load_landmark_embedding
from geometry.cameras import Camera
from geometry.distance import point_to_mesh_distance, signed_distance
from geometry.meshes import Mesh
from storage.results import StoredResult
from storage.take import Take
from workflows.surfaces import fused_frames, read_surface, run_name

FARTHEST_M = 0.03
"""Surface points farther than this from the head belong to something else (hair, clothes, the room)."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """The result of `mien fit`. Vertices and texture are read when asked for."""

    result: StoredResult
    """Where it comes from."""

    @classmethod
    def read(cls, take: Take) -> FittedHead | None:
        """None where the take was not fitted; InputError where the result is damaged."""
        return cls(take.results.read("fit")) if "default" in take.results.runs("fit") else None

    def vertices(self, frame: int) -> Float[np.ndarray, "v 3"]:
        """The head at a frame, world metres."""
        return self.result["vertices"][frame].astype(np.float64)

    @cached_property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Triangles."""
        return self.result["faces"][...]

    @cached_property
    def curves(self) -> Float[np.ndarray, "t e"]:
        """ARKit curves in [0, 1]."""
        return self.result["curves"][...].astype(np.float64)

    @cached_property
    def curve_names(self) -> tuple[str, ...]:
        """ARKit's, or numbers where the result has no names."""
        return self.result["curves"].labels("curve") or tuple(f"curve {n}" for n in range(self.curves.shape[1]))

    @cached_property
    def rotation(self) -> Float[np.ndarray, "t 3 3"]:
        """World from head."""
        return self.result["rotation"][...].astype(np.float64)

    @cached_property
    def translation(self) -> Float[np.ndarray, "t 3"]:
        """Metres."""
        return self.result["translation"][...].astype(np.float64)

    @cached_property
    def face_region(self) -> Bool[np.ndarray, "v"]:
        """Vertices of the face."""
        return self.result["face_region"][...].astype(bool)

    @cached_property
    def depth_residual_mm(self) -> Float[np.ndarray, "t"]:
        """Median distance of the depth to the face, per frame; nan without depth."""
        return self.result["depth_residual_m"][...].astype(np.float64) * 1000

    @cached_property
    def texture(self) -> UInt8[np.ndarray, "s u 3"] | None:
        """sRGB; row 0 is v = 1."""
        return self.result["base_colour"][...] if "base_colour" in self.result.arrays else None

    @cached_property
    def texel_seen(self) -> Bool[np.ndarray, "s u"] | None:
        """Texels that a camera saw."""
        return self.result["texel_seen"][...] > 0 if "texel_seen" in self.result.arrays else None

    @cached_property
    def model(self) -> HeadModel | None:
        """The head model, where it is one that mien knows and of this topology: its texture layout and landmarks."""
        name = self.result.provenance.config.get("model")
        known = isinstance(name, str) and (name in HEAD_MODELS or Path(name).is_file())
        model = load_head_model(str(name)) if known else None
        return model if model is not None and np.array_equal(model.faces.numpy(), self.faces) else None

    def is_whole(self, frame: int) -> bool:
        """Whether the frame has a head that can be drawn: all of its vertices are finite."""
        return bool(np.isfinite(self.vertices(frame)).all())

    def strongest_frame(self, among: list[int]) -> int:
        """The frame with the most expression; gaze does not count."""
        counted = [column for column, name in enumerate(self.curve_names) if not name.startswith("eyeLook")]
        return max(among, key=lambda frame: (float(np.nan_to_num(self.curves[frame, counted]).sum()), -frame))

    def landmark_error_px(self, take: Take, camera: Camera, frame: int) -> float | None:
        """Median distance of the detected landmarks from those of the fitted head, in the camera's pixels."""
        if self.model is None or "default" not in take.results.runs("landmarks"):
            return None
        found = take.results.read("landmarks")
        order = found.provenance.config.get("cameras", ())
        if camera.id not in order:
            return None
        import torch

        embedding = load_landmark_embedding(str(self.result.provenance.config["model"]))
        marks, _ = camera.project(embedding.on(torch.from_numpy(self.vertices(frame))).numpy())
        rows, column = embedding.source_index.numpy(), order.index(camera.id)
        seen = found["confidence"][frame][column, rows] > 0.5
        offsets = found["points_px"][frame][column, rows] - marks
        return float(np.median(np.linalg.norm(offsets[seen], axis=1))) if seen.any() else None


@dataclass(frozen=True, eq=False)
class FusedSurface:
    """The result of `mien fuse` at one frame."""

    frame: int
    """Frame set."""
    mesh: Mesh
    """World metres, with colours."""
    result: StoredResult
    """Where it comes from."""


def surface_of(take: Take, frame: int) -> FusedSurface | None:
    """The frame's surface, None where it has none or an empty one."""
    if frame not in fused_frames(take):
        return None
    mesh = read_surface(take, frame)
    return FusedSurface(frame, mesh, take.results.read("surface", run_name(frame))) if len(mesh.faces) else None


@dataclass(frozen=True, eq=False)
class SurfaceDistance:
    """How far the fused surface is from the fitted head."""

    signed_mm: Float[np.ndarray, "n"]
    """Per surface vertex, positive in front of the head's surface; nan for those over FARTHEST_M away."""
    on_face: Bool[np.ndarray, "n"]
    """Vertices whose nearest triangle belongs to the face, of those with a distance."""

    @classmethod
    def between(cls, surface: Mesh, head: Mesh, face_region: Bool[np.ndarray, "v"]) -> SurfaceDistance:
        """Exact point-to-triangle distances."""
        closest = point_to_mesh_distance(surface.vertices, head.vertices, head.faces)
        signed_m = signed_distance(surface.vertices, closest, head.vertices, head.faces)
        near = closest.distance <= FARTHEST_M
        of_face = np.all(face_region[head.faces], axis=1)
        on_face = near & np.asarray(of_face)[closest.face_index]
        return cls(np.where(near, signed_m * 1000, np.nan), on_face)

    @property
    def face_mm(self) -> Float[np.ndarray, "m"]:
        """Signed distances over the face."""
        return self.signed_mm[self.on_face]

    def percentile_mm(self, percent: float) -> float:
        """Of the unsigned distances over the face; nan if the surface does not reach it."""
        return float(np.percentile(np.abs(self.face_mm), percent)) if self.on_face.any() else float("nan")
