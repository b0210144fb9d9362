"""What the cameras saw of the board: one view is one picture in which it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Float, Int

from capture.calibration.board import BoardSpec


@dataclass(frozen=True, eq=False)
class BoardView:
    """One picture's corners."""

    sensor: int
    """Which sensor of the problem."""
    pose: int
    """Which pose of the board, that is which frame set."""
    ids: Int[np.ndarray, "n"]
    """Corners of the board."""
    pixels: Float[np.ndarray, "n 2"]
    """Where they were seen, pixel centres at +0.5."""

    def only(self, kept: Bool[np.ndarray, "n"]) -> BoardView:
        """With some of its corners."""
        return replace(self, ids=self.ids[kept], pixels=self.pixels[kept])


@dataclass(frozen=True, eq=False)
class SensorCorners:
    """The corners of all views of one sensor, end to end."""

    sensor: int
    """Which."""
    views: tuple[BoardView, ...]
    """By pose."""
    pose: Int[np.ndarray, "n"]
    """Of each corner."""
    ids: Int[np.ndarray, "n"]
    """Of each corner."""
    pixels: Float[np.ndarray, "n 2"]
    """Of each corner."""

    @classmethod
    def of(cls, sensor: int, views: tuple[BoardView, ...]) -> SensorCorners:
        """Views of one sensor."""
        pose = np.repeat([view.pose for view in views], [len(view.ids) for view in views])
        ids, pixels = np.concatenate([v.ids for v in views]), np.concatenate([v.pixels for v in views])
        return cls(sensor, views, pose, ids, pixels)

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of the corners, view by view."""
        return np.split(values, np.cumsum([len(view.ids) for view in self.views])[:-1])


@dataclass(frozen=True, eq=False)
class BoardViews:
    """All views of a recording."""

    spec: BoardSpec
    """The board."""
    sizes_hw: tuple[tuple[int, int], ...]
    """Picture size of each sensor."""
    pose_count: int
    """Poses of the board, seen or not."""
    views: tuple[BoardView, ...]
    """Sorted by sensor, then by pose."""

    @classmethod
    def of(
        cls, spec: BoardSpec, sizes_hw: Sequence[tuple[int, int]], pose_count: int, views: Sequence[BoardView]
    ) -> BoardViews:
        """Views in any order."""
        ordered = sorted(views, key=lambda view: (view.sensor, view.pose))
        return cls(spec, tuple(sizes_hw), pose_count, tuple(ordered))

    @cached_property
    def by_sensor(self) -> tuple[SensorCorners, ...]:
        """The corners of each sensor that has any, in one piece."""
        groups = groupby(self.views, key=lambda view: view.sensor)
        return tuple(SensorCorners.of(sensor, tuple(views)) for sensor, views in groups)

    @property
    def corner_count(self) -> int:
        """All corners of all views."""
        return sum(len(view.ids) for view in self.views)

    def of_sensor(self, sensor: int) -> tuple[BoardView, ...]:
        """The views of one sensor, by pose."""
        return tuple(view for view in self.views if view.sensor == sensor)

    def with_views(self, views: Sequence[BoardView]) -> BoardViews:
        """The same sensors and poses with other views."""
        return BoardViews.of(self.spec, self.sizes_hw, self.pose_count, views)

    def alone(self, sensor: int, views: Sequence[BoardView]) -> BoardViews:
        """Some views of one sensor as a problem of its own, their poses counted anew."""
        renumbered = [replace(view, sensor=0, pose=number) for number, view in enumerate(views)]
        return BoardViews.of(self.spec, (self.sizes_hw[sensor],), len(views), renumbered)

    def seen(self) -> Bool[np.ndarray, "sensor pose"]:
        """Which sensor saw which pose."""
        table = np.zeros((len(self.sizes_hw), self.pose_count), bool)
        for view in self.views:
            table[view.sensor, view.pose] = True
        return table
