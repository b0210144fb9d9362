"""Decoded video pictures as sRGB or as 16-bit counts, by the matrix and range that the stream states.

Source: ITU-T H.273 (code points of matrix and transfer); ITU-R BT.709 and BT.601.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from capture.readers.orientation import UPRIGHT, Orientation
from geometry.cameras import CameraKind
from geometry.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame

MATRICES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
"""By H.273's number."""
SWSCALE_MATRICES = {"BT.709": 1, "FCC": 4, "BT.601": 5, "SMPTE 240M": 7, "BT.2020": 9}
UNSPECIFIED, IDENTITY = 2, 0
FULL_RANGE, LIMITED_RANGE = 2, 1
HDR_TRANSFERS = {16: "PQ (SMPTE 2084)", 18: "HLG"}
HD_ROWS = 720
"""From here on unstated colour is BT.709, below it BT.601, as players take it."""
COUNT_FORMATS = ("gray16le", "gray16be")
# Bilinear chroma at full horizontal resolution, rounded: within one level of the exact matrix.
INTERPOLATION = 2 | 0x2000 | 0x40000


@dataclass(frozen=True)
class VideoColour:
    """How the pictures of a stream become pixels."""

    kind: CameraKind
    """rgb gives uint8 (h w 3); the others uint16 (h w)."""
    pixel_format: str
    """libav's name of the stored format."""
    matrix: str
    """Name in SWSCALE_MATRICES; empty where the pixels are no YCbCr."""
    full_range: bool
    """Whether black is 0 and white 255."""
    orientation: Orientation
    """Turns stored into upright pictures."""

    def pixels(self, frame: VideoFrame) -> np.ndarray:
        """The upright picture."""
        if self.kind != "rgb":
            return self.orientation.pixels(frame.to_ndarray().astype(np.uint16, copy=False))
        if not self.matrix:
            shown = frame.reformat(format="rgb24", interpolation=INTERPOLATION, threads=1)
        else:
            shown = frame.reformat(
                format="rgb24",
                src_colorspace=SWSCALE_MATRICES[self.matrix],
                src_color_range=FULL_RANGE if self.full_range else LIMITED_RANGE,
                dst_color_range=FULL_RANGE,
                interpolation=INTERPOLATION,
                threads=1,
            )
        return self.orientation.pixels(shown.to_ndarray())


def video_colour(frame: VideoFrame, kind: CameraKind, name: str) -> tuple[VideoColour, list[str]]:
    """How to show a stream, by its first picture, and notes on what it does not state.

    Raises InputError that names the file (`name`): a high dynamic range, an unknown matrix, a turn that is no
    multiple of 90 degrees, pixels that are no counts where counts are asked for.
    """
    notes: list[str] = []
    stored = frame.format.name
    orientation = _orientation(frame, name)
    if orientation != UPRIGHT:
        notes.append(f"{name}: pictures are turned or mirrored as the file asks")
    if kind != "rgb":
        if stored not in COUNT_FORMATS:
            remedy = "record 16-bit grey (FFV1 gray16le), or call the stream rgb"
            raise InputError(f"16-bit counts for a {kind} video", f"pixel format {stored} in {name}", remedy)
        return VideoColour(kind, stored, "", True, orientation), notes
    transfer = int(frame.color_trc)
    if transfer in HDR_TRANSFERS:
        remedy = "convert the video to BT.709, so that its colours are known"
        raise InputError("a standard dynamic range", f"{HDR_TRANSFERS[transfer]} in {name}", remedy)
    bits = max(component.bits for component in frame.format.components)
    if bits > 8:
        notes.append(f"{name}: {bits} bits a channel are reduced to 8")
    if frame.interlaced_frame:
        notes.append(f"{name}: interlaced, two moments in one picture; lines are not separated")
    if frame.format.is_rgb or stored.startswith(("gray", "pal8", "mono")):
        return VideoColour(kind, stored, "", True, orientation), notes
    code = int(frame.colorspace)
    is_jpeg = stored.startswith("yuvj")
    if code == UNSPECIFIED:
        matrix = "BT.601" if is_jpeg or frame.height < HD_ROWS else "BT.709"
        notes += [] if is_jpeg else [f"{name}: the colour matrix is not stated, {matrix} is taken"]
    elif code in MATRICES:
        matrix = MATRICES[code]
    else:
        raise InputError(f"a colour matrix of {', '.join(SWSCALE_MATRICES)}", f"number {code} in {name}", "convert it")
    stated_range = int(frame.color_range)
    if stated_range not in (FULL_RANGE, LIMITED_RANGE) and not is_jpeg:
        notes.append(f"{name}: the range is not stated, limited is taken")
    return VideoColour(kind, stored, matrix, is_jpeg or stated_range == FULL_RANGE, orientation), notes


def _orientation(frame: VideoFrame, name: str) -> Orientation:
    """From the display matrix, which maps stored to shown positions. Source: ISO/IEC 14496-12, 6.2.2."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32)[:9] / 65536
    for swap, (x, y), rest in ((False, (a, d), (b, c)), (True, (c, b), (a, d))):
        if abs(x) == abs(y) == 1 and rest == (0, 0):
            return Orientation(swap, bool(x < 0), bool(y < 0))
    remedy = "remove the turn from the file and record its camera's true pose in the calibration"
    raise InputError("a turn by a multiple of 90 degrees", f"another in {name}", remedy)
