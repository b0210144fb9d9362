"""iPhone TrueDepth portraits, HEIC or JPEG, as a recording of one frame by two cameras in one place.

What the numbers of such a file mean, and how that is known:

- Colour and depth come from one point of view: the phone warps the depth to the colour picture, and Apple documents
  that it keeps the picture's lens distortion ("geometrically distorted to align with images produced by the camera").
  So both cameras share one pose and, scaled, one K and one lens. Silhouettes in both agree within a depth pixel.
- Depth pictures hold disparity: dmin + v / 255 (dmax - dmin) in 1/m, depth = 1 / disparity along the optical axis.
- K refers to the reference size in the XMP, in the orientation that the pixels are stored in. Apple puts the origin at
  "the upper left of the frame"; K scales between sizes without half-pixel terms and rectified pictures have their
  principal point at exactly half their size, so the origin is the corner: pixel centres at +0.5, K is taken as it is.
  Were it the first pixel's centre, points would move by half a pixel of 2316 (0.07 mm at 0.4 m).
- The XMP's extrinsics are a quarter turn without translation (the sensor in the phone); nothing here needs them.
- Not rectified (iPhone XS): the lens polynomial is not zero and holds for colour and depth alike. Rectified by the
  phone (iPhone 14; AVFoundation's geometric distortion correction): all coefficients are zero and the principal point
  is the middle; the distortion centre means nothing then.
- Some rectified files give an fx that is a quarter off (2085 beside fy = 2718 px; faces come out a third too wide).
  Sensors have square pixels, so where fx and fy differ, the one that agrees with EXIF's focal length replaces both.
- HEIC readers turn the pixels upright themselves (irot, imir), JPEG readers do not; EXIF's orientation says how.

World: the camera at the origin looks along -z, so that the subject faces +z, y up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from jaxtyping import Float

from capture.readers.apple_depth_xmp import AppleDepthMetadata
from capture.readers.orientation import EXIF_ORIENTATIONS, UPRIGHT, Orientation
from capture.readers.portrait_files import ExifFacts, PortraitFile, open_portrait_file, picture_format
from capture.readers.radial_lens import RadialLens, fit_opencv_distortion
from capture.readers.recording import Recording, StreamClock
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform

RGB, DEPTH = "portrait_rgb", "portrait_depth"
MODULE = "truedepth"
DEPTH_UNIT_M = 1e-4
MAX_ASPECT_DIFFERENCE = 0.02
MAX_FOCAL_DIFFERENCE = 0.01
"""fx against fy; factory calibrations give them equal."""
MAX_FOCAL_ERROR = 0.08
"""K against EXIF's rounded focal length: 0.7 to 1.1 % in real files."""
REMEDY = "export the unedited original from the phone again, with its depth"


def recognises_truedepth(source: Path) -> str | None:
    """Why `source` may be a TrueDepth portrait: it is a single HEIC or JPEG. Whether it holds depth, reading says."""
    format_name = picture_format(source)
    return f"a single {format_name} picture" if format_name else None


def read_truedepth(source: Path) -> Recording:
    """A recording of one frame: `portrait_rgb` (uint8, sRGB) and `portrait_depth` (uint16, 0.1 mm), both upright.

    Raises InputError: not a HEIC or JPEG, truncated or undecodable, no depth picture, no or wrong intrinsics,
    pictures too large, colour and depth of different shapes.
    """
    source = source.absolute()
    portrait = open_portrait_file(source)
    metadata = portrait.metadata
    calibration, notes = _calibration(portrait)
    cameras = (_camera(RGB, calibration, portrait.exif), _camera(DEPTH, calibration, portrait.exif))
    device_ns, time_notes = _device_ns(portrait.exif)
    clock = StreamClock(np.array([device_ns], np.int64))
    if calibration.orientation.mirrored:
        notes.append("the picture is stored mirrored: left and right of the head may have changed places")
    return Recording(
        address=str(source),
        reader="truedepth",
        rig=Rig(cameras),
        clocks={RGB: clock, DEPTH: clock},
        read_frame=_PortraitFrames(source, calibration.orientation, calibration.size_hw),
        source_files=(source,),
        notes=(*_depth_notes(metadata), *notes, *portrait.notes, *time_notes),
    )


@dataclass(frozen=True, eq=False)
class _Calibration:
    """The shared camera of colour and depth, upright."""

    K: Float[np.ndarray, "3 3"]
    """Pixels of the colour picture."""
    distortion: Float[np.ndarray, "d"]
    size_hw: dict[str, tuple[int, int]]
    """Upright picture sizes by camera id."""
    orientation: Orientation
    """From the pixels as their decoder gives them to the upright pictures."""


def _calibration(portrait: PortraitFile) -> tuple[_Calibration, list[str]]:
    metadata, notes = portrait.metadata, []
    exif_orientation = EXIF_ORIENTATIONS.get(portrait.exif.orientation, UPRIGHT)
    pixels_to_upright = UPRIGHT if portrait.turned_by_decoder else exif_orientation
    size_hw = {
        RGB: pixels_to_upright.size_hw(portrait.colour_hw),
        DEPTH: pixels_to_upright.size_hw(portrait.depth_hw),
    }
    if not _same_shape(size_hw[RGB], size_hw[DEPTH]):
        raise _mismatch(portrait.path, "depth of the colour picture's shape", size_hw[DEPTH], size_hw[RGB])
    K_to_upright = exif_orientation
    if not _same_shape(K_to_upright.size_hw(metadata.reference_hw), size_hw[RGB]):
        # A re-saved file: pixels and intrinsics were turned upright, EXIF was not told.
        K_to_upright = UPRIGHT
    reference_hw = K_to_upright.size_hw(metadata.reference_hw)
    if not _same_shape(reference_hw, size_hw[RGB]):
        raise _mismatch(portrait.path, "intrinsics for the colour picture's shape", reference_hw, size_hw[RGB])
    K_stored = _square_focal(metadata, portrait.exif, notes)
    K_reference = K_to_upright.intrinsics(K_stored, metadata.reference_hw)
    distortion = _distortion(metadata, K_reference, K_to_upright, notes)
    K = _scale(size_hw[RGB], reference_hw) @ K_reference
    return _Calibration(K, distortion, size_hw, pixels_to_upright), notes


def _camera(camera_id: str, calibration: _Calibration, exif: ExifFacts) -> Camera:
    is_depth = camera_id == DEPTH
    size_hw = calibration.size_hw[camera_id]
    return Camera(
        id=camera_id,
        module=MODULE,
        kind="depth" if is_depth else "rgb",
        image_size_hw=size_hw,
        K=_scale(size_hw, calibration.size_hw[RGB]) @ calibration.K,
        distortion=calibration.distortion,
        world_from_camera=RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3)),
        rate_hz=0.0,
        depth_unit_m=DEPTH_UNIT_M if is_depth else None,
        serial=exif.device,
        calibration_source="Apple's factory calibration, XMP depthData",
    )


def _square_focal(metadata: AppleDepthMetadata, exif: ExifFacts, notes: list[str]) -> Float[np.ndarray, "3 3"]:
    """K of the reference size with one focal length; see the module's docstring."""
    K = metadata.K.copy()
    focal = np.array([K[0, 0], K[1, 1]])
    if abs(focal[0] / focal[1] - 1) <= MAX_FOCAL_DIFFERENCE:
        return K
    said = f"the file's focal lengths differ, fx {focal[0]:.1f} and fy {focal[1]:.1f} px"
    if exif.focal_mm and metadata.pixel_size_mm:
        exif_px = exif.focal_mm / metadata.pixel_size_mm
        error = np.abs(focal / exif_px - 1)
        if error.min() <= MAX_FOCAL_ERROR:
            K[0, 0] = K[1, 1] = focal[error.argmin()]
            notes.append(f"{said}: {K[0, 0]:.1f} px is used for both, which agrees with EXIF's {exif_px:.0f} px")
            return K
    notes.append(f"{said}: kept, because EXIF gives no focal length that would decide; check sizes before use")
    return K


def _distortion(
    metadata: AppleDepthMetadata, K: Float[np.ndarray, "3 3"], turn: Orientation, notes: list[str]
) -> Float[np.ndarray, "d"]:
    lens = metadata.lens
    if lens is None:
        notes.append("the file says nothing about the lens: taken as rectified")
        return np.zeros(0)
    if lens.rectified:
        notes.append("rectified by the phone: no lens distortion left")
        return np.zeros(0)
    centre = (turn.matrix(metadata.reference_hw) @ [*lens.centre, 1.0])[:2]
    upright_lens = RadialLens(lens.coefficients, centre, lens.pixel_size_mm)
    distortion, worst_px = fit_opencv_distortion(upright_lens, K, turn.size_hw(metadata.reference_hw))
    verdict = "" if worst_px <= 0.5 else ", which is more than 0.5 px: do not measure at the picture's edge"
    notes.append(
        f"not rectified; OpenCV's 8 coefficients follow the file's lens polynomial within {worst_px:.2f} px{verdict}"
        "; its units are undocumented and inferred, which leaves up to 0.75 % of the distance from the centre uncertain"
    )
    return distortion


def _depth_notes(metadata: AppleDepthMetadata) -> list[str]:
    notes = []
    if metadata.filtered:
        notes.append("disparity filtered by the phone: holes are filled in and edges follow the colour picture")
    if not metadata.absolute:
        notes.append("the phone calls this depth relative: sizes are not metric")
    low, high = metadata.value_range
    step = (high - low) / 255
    if metadata.kind == "disparity":
        notes.append(f"disparity has 256 steps: depth steps of {1e3 * step * 0.4**2:.1f} mm at 0.4 m")
    else:
        notes.append(f"depth has 256 steps of {1e3 * step:.1f} mm")
    return notes


def _device_ns(exif: ExifFacts) -> tuple[int, list[str]]:
    """Time of exposure since 1970 in nanoseconds, 0 if EXIF does not say."""
    try:
        taken = datetime.strptime(exif.taken, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return 0, ["no time of exposure in EXIF: the clock says 0"]
    notes = []
    try:
        hours, minutes = (int(part) for part in exif.utc_offset[1:].split(":"))
        taken -= timedelta(hours=hours, minutes=minutes) * (-1 if exif.utc_offset[0] == "-" else 1)
    except (ValueError, IndexError, OverflowError):
        notes.append("no time zone in EXIF: the clock takes local time as UTC")
    digits = exif.subseconds if exif.subseconds.isdecimal() and exif.subseconds.isascii() else ""
    return int(taken.timestamp()) * 1_000_000_000 + int(digits[:9].ljust(9, "0")), notes


@dataclass(frozen=True, eq=False)
class _PortraitFrames:
    """Reads a frame from the file each time it is asked; holds no pixels and no open file."""

    path: Path
    orientation: Orientation
    size_hw: dict[str, tuple[int, int]]

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        if camera_id not in self.size_hw or index != 0:
            got = f"{camera_id!r}, frame {index}"
            raise InputError(f"frame 0 of {RGB} or {DEPTH}", got, "a portrait is a single frame; ask for that")
        portrait = open_portrait_file(self.path)
        if camera_id == RGB:
            frame = self.orientation.pixels(portrait.read_colour())
        else:
            frame = self.orientation.pixels(_depth_counts(portrait.metadata)[portrait.read_depth_grey()])
        if frame.shape[:2] != self.size_hw[camera_id]:
            raise _mismatch(self.path, "the size it had when it was opened", frame.shape[:2], self.size_hw[camera_id])
        return frame


def _depth_counts(metadata: AppleDepthMetadata) -> np.ndarray:
    """Depth in counts of 0.1 mm for each of the 256 grey values; 0 where there is none or it exceeds 16 bits."""
    low, high = metadata.value_range
    values = low + np.arange(256) / 255 * (high - low)
    depth_m = values if metadata.kind == "depth" else np.divide(1, values, out=np.zeros(256), where=values > 0)
    counts = np.round(depth_m / DEPTH_UNIT_M)
    return np.where(counts <= np.iinfo(np.uint16).max, counts, 0).astype(np.uint16)


def _scale(to_hw: tuple[int, int], from_hw: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    """Positions measured from the corner scale with the picture's size, without half-pixel terms."""
    return np.diag([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0], 1.0])


def _same_shape(a_hw: tuple[int, int], b_hw: tuple[int, int]) -> bool:
    return abs((a_hw[0] / a_hw[1]) / (b_hw[0] / b_hw[1]) - 1) <= MAX_ASPECT_DIFFERENCE


def _mismatch(path: Path, expected: str, got_hw: tuple[int, int], colour_hw: tuple[int, int]) -> InputError:
    sizes = f"{got_hw[1]} x {got_hw[0]} against {colour_hw[1]} x {colour_hw[0]} px"
    return InputError(expected, f"{sizes} in {path}", REMEDY)
