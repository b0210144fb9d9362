"""What a calibration says about itself: a line a camera, and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CameraReport:
    """How one camera came out."""

    camera: str
    """Its id."""
    reprojection_px: float
    """Root-mean-square distance of corners from where the calibration puts them."""
    held_out_px: float | None
    """The same on poses that took no part in a second adjustment; None if there were too few poses."""
    views: int
    """Pictures that were used."""
    rejected_views: int
    """Pictures of the board that did not agree with the other cameras."""
    corners: int
    """Corners in the used pictures."""
    coverage: float
    """Share of the picture's raster fields in which a corner was seen."""
    tilt_deg: float
    """The largest angle between the board and the sensor's plane."""
    focal_px: float
    """Horizontal focal length."""
    focal_sigma_percent: float
    """One standard deviation."""
    position_sigma_mm: float
    """One standard deviation of the camera's place (length of the error), the rig as a whole held."""
    depth_scale: float | None = None
    """Of the depth stream of the same sensor; None where there is none or too little was measured."""
    depth_scale_sigma: float | None = None
    """One standard deviation; 0 if the distances were too alike to tell a scale."""
    depth_offset_mm: float | None = None
    """Added after scaling."""
    depth_offset_sigma_mm: float | None = None
    """One standard deviation of the correction at the usual distance."""
    depth_error_mm: tuple[float, float] | None = None
    """Root mean square of the pictures' mean depth errors, before and after."""
    colour_error: tuple[float, float] | None = None
    """Root-mean-square difference from the other cameras' linear colours, before and after."""


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration's outcome; the rig itself is in its file."""

    board: str
    """As `--board` takes it."""
    poses: int
    """Frame sets in which a camera saw the board."""
    pictures: int
    """Pictures that were looked at."""
    reference_camera: str | None
    """The camera whose colours the others are matched to."""
    cameras: tuple[CameraReport, ...]
    """Cameras whose pictures show the board, in the rig's order."""
    notes: tuple[str, ...] = ()
    """What a user should know."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """A table for the terminal."""
        lines = [
            f"board {self.board}: {self.poses} poses in {self.pictures} pictures",
            f"{'camera':<20} {'reproj px':>9} {'held out':>9} {'views':>6} {'out':>4} {'cover':>6} {'tilt':>5} "
            f"{'focal px':>10} {'± %':>7} {'± mm':>7}  depth, colour",
        ]
        for row in self.cameras:
            held_out = "" if row.held_out_px is None else f"{row.held_out_px:.3f}"
            lines.append(
                f"{row.camera:<20} {row.reprojection_px:9.3f} {held_out:>9} {row.views:6d} {row.rejected_views:4d} "
                f"{100 * row.coverage:5.0f}% {row.tilt_deg:4.0f}° {row.focal_px:10.2f} {row.focal_sigma_percent:7.4f} "
                f"{row.position_sigma_mm:7.3f}  {_extras(row)}".rstrip()
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _extras(row: CameraReport) -> str:
    parts = []
    if row.depth_scale is not None and row.depth_error_mm is not None:
        parts.append(
            f"x {row.depth_scale:.5f} {row.depth_offset_mm:+.2f} mm "
            f"(error {row.depth_error_mm[0]:.2f} to {row.depth_error_mm[1]:.2f} mm)"
        )
    if row.colour_error is not None:
        parts.append(f"colour error {row.colour_error[0]:.4f} to {row.colour_error[1]:.4f}")
    return ", ".join(parts)
