"""A rig: the cameras of a studio, by name."""

from __future__ import annotations

from dataclasses import dataclass

from geometry.cameras import Camera
from geometry.errors import InputError


@dataclass(frozen=True, eq=False)
class Rig:
    """Every camera of a take, in a fixed order; ids are unique."""

    cameras: tuple[Camera, ...]
    """In the order of the take's sync index."""

    def __post_init__(self) -> None:
        ids = [camera.id for camera in self.cameras]
        twice = sorted({camera_id for camera_id in ids if ids.count(camera_id) > 1})
        if twice:
            raise InputError("each camera once in the rig", f"{', '.join(twice)} more than once", "rename the cameras")

    def __getitem__(self, camera_id: str) -> Camera:
        for camera in self.cameras:
            if camera.id == camera_id:
                return camera
        known = ", ".join(self.ids)
        raise InputError(f"a camera of the rig ({known})", f"{camera_id!r}", "correct the name or the rig file")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the cameras, in order."""
        return tuple(camera.id for camera in self.cameras)

    @property
    def rgb(self) -> tuple[Camera, ...]:
        """Colour cameras, in order."""
        return tuple(camera for camera in self.cameras if camera.kind == "rgb")

    @property
    def depth(self) -> tuple[Camera, ...]:
        """Depth cameras, in order."""
        return tuple(camera for camera in self.cameras if camera.kind == "depth")

    def index(self, camera_id: str) -> int:
        """Position of a camera in the rig's order."""
        return self.ids.index(self[camera_id].id)
