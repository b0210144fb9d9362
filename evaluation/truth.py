"""The truth beside a simulated recording; nothing but evaluation reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Int

from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.rig_json import read_rig
from storage.take import Take


@dataclass(frozen=True, eq=False)
class Truth:
    """What the simulated subject really was."""

    vertices: Float[np.ndarray, "t v 3"]
    """World, metres, at each trigger."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    face_mask: Bool[np.ndarray, "f"]
    """Triangles of the face region; all of a scan's."""
    curves: Float[np.ndarray, "t e"]
    """ARKit curves; none for a scan."""
    curve_names: tuple[str, ...]
    """Their names."""
    world_from_head: tuple[RigidTransform, ...]
    """How the head stood at each trigger."""
    rig: Rig
    """The cameras as they really stood."""
    triggers: dict[str, list[int]]
    """By camera: which trigger each recorded frame belongs to."""

    @property
    def has_curves(self) -> bool:
        """False for a rigid scan, whose topology is its own."""
        return bool(self.curve_names)

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """Raises InputError when the folder is not there or not whole; executes nothing."""
        remedy = "name the folder with --truth, or simulate the recording again"
        try:
            with np.load(folder / "subject.npz", allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in ("vertices", "faces", "face_mask", "curves", "curve_names")}
                rotvec, translation = arrays["rotvec"], arrays["translation"]
            triggers = json.loads((folder / "synchrony.json").read_text())
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError("the truth of a simulated recording", f"{folder} ({error})", remedy) from error
        names = tuple(str(name) for name in values.pop("curve_names"))
        poses = tuple(RigidTransform.from_rotvec(turn, place) for turn, place in zip(rotvec, translation, strict=True))
        return cls(
            **values, curve_names=names, world_from_head=poses, rig=read_rig(folder / "rig.json"), triggers=triggers
        )

    def in_head(self, trigger: int) -> Float[np.ndarray, "v 3"]:
        """The subject at a trigger in its own head's frame, metres: what is left moves by expression alone."""
        return self.world_from_head[trigger].inverse() @ self.vertices[trigger].astype(np.float64)

    def trigger_of(self, take: Take, frame_set: int) -> int:
        """Which trigger a frame set shows: the one most of its frames were taken at."""
        index = take.sync.index[frame_set]
        of_cameras = [
            self.triggers[camera][number] for camera, number in zip(take.rig.ids, index, strict=True) if number >= 0
        ]
        return int(np.bincount(of_cameras).argmax())


def find_truth(take: Take, named: Path | None) -> Truth | None:
    """The truth a user names, else the one beside the recording that the take came from.

    None for a real recording, which has none. Raises InputError for a simulated one whose truth is gone.
    """
    if named is not None:
        return Truth.read(named)
    folder = Path(take.header.source) / "truth"
    if folder.is_dir() or take.header.consent == "simulated":
        return Truth.read(folder)
    return None
