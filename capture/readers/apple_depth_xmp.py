"""What an Apple depth picture says about itself in XMP: value range, intrinsics, lens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from capture.readers.radial_lens import RadialLens
from geometry.errors import InputError

PIXEL_DATA = "{http://ns.apple.com/pixeldatainfo/1.0/}"
DEPTH_DATA = "{http://ns.apple.com/depthData/1.0/}"
RDF_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
MAX_PACKET_BYTES = 1 << 20
"""Real packets have 5 kB."""
MAX_PACKETS = 64
MAX_REFERENCE_PX = 65_536
LUMINANCE_8_BIT = "1278226488"
"""The pixel format 'L008' as an integer."""
REMEDY = "export the unedited original from the phone again"


@dataclass(frozen=True, eq=False)
class AppleDepthMetadata:
    """One depth picture's own description, in the orientation that the pixels are stored in."""

    kind: Literal["disparity", "depth"]
    """Whether values are 1/m or m."""
    value_range: tuple[float, float]
    """Values of the darkest and the brightest grey, 1/m or m."""
    K: Float[np.ndarray, "3 3"]
    """Pixels of the reference size, measured from the picture's corner, which is our convention (centres at +0.5)."""
    reference_hw: tuple[int, int]
    """Picture size that K and the lens refer to."""
    lens: RadialLens | None
    """None if the file carries no lens polynomial."""
    pixel_size_mm: float | None
    """Side of a pixel of the reference size on the sensor."""
    filtered: bool
    """Whether the phone has smoothed the depth and filled its holes."""
    absolute: bool
    """Whether the phone calls the depth absolute (metric) and not relative."""


def xmp_packets(data: bytes) -> Iterator[bytes]:
    """The XMP packets of a file, wherever they lie.

    Looking for their text is what the XMP specification (part 3, "packet scanning") foresees where a container's
    reader does not hand them out: libheif's binding gives only the primary picture's.
    """
    for count, match in enumerate(re.finditer(rb"<x:xmpmeta[\s>]", data)):
        if count == MAX_PACKETS:
            return
        end = data.find(b"</x:xmpmeta>", match.start(), match.start() + MAX_PACKET_BYTES)
        if end > 0:
            yield data[match.start() : end + len(b"</x:xmpmeta>")]


def parse_depth_xmp(packet: bytes, path: Path) -> AppleDepthMetadata | None:
    """A depth picture's description, or None if the packet describes something else.

    Raises InputError if it is about depth and wrong. Document types, hence entities, are refused unread.
    """
    if b"http://ns.apple.com/depthData/1.0/" not in packet:
        return None
    if len(packet) > MAX_PACKET_BYTES or b"<!" in packet:
        raise _wrong(path, "XMP without document types or entities and under 1 MiB", "something else")
    try:
        root = ElementTree.fromstring(packet)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _wrong(path, "well-formed XMP beside the depth", str(error)) from error
    kind = _text(root, f"{PIXEL_DATA}AuxiliaryImageType")
    if _text(root, f"{DEPTH_DATA}DepthDataVersion") is None and kind not in ("disparity", "depth"):
        return None
    if kind != "disparity" and kind != "depth":
        raise _wrong(path, "a picture of disparity or depth", f"one of {kind!r}")
    if _text(root, f"{PIXEL_DATA}StoredFormat") not in (None, LUMINANCE_8_BIT):
        stored = _text(root, f"{PIXEL_DATA}StoredFormat")
        raise _wrong(path, "depth stored as 8-bit grey (L008)", f"pixel format {stored}")
    pixel_size_mm = _number(root, f"{DEPTH_DATA}PixelSize", path, optional=True)
    return AppleDepthMetadata(
        kind=kind,
        value_range=_value_range(root, path),
        K=_intrinsics(root, path),
        reference_hw=_reference_size(root, path),
        lens=_lens(root, pixel_size_mm, path),
        pixel_size_mm=pixel_size_mm,
        filtered=_text(root, f"{DEPTH_DATA}Filtered") == "True",
        absolute=_text(root, f"{DEPTH_DATA}Accuracy") in (None, "absolute"),
    )


def _value_range(root: ElementTree.Element, path: Path) -> tuple[float, float]:
    low = _number(root, f"{PIXEL_DATA}FloatMinValue", path)
    high = _number(root, f"{PIXEL_DATA}FloatMaxValue", path)
    assert low is not None and high is not None
    if not high > low >= 0:
        raise _wrong(path, "a depth range that starts at 0 or above and grows", f"{low} to {high}")
    return low, high


def _reference_size(root: ElementTree.Element, path: Path) -> tuple[int, int]:
    width = _number(root, f"{DEPTH_DATA}IntrinsicMatrixReferenceWidth", path)
    height = _number(root, f"{DEPTH_DATA}IntrinsicMatrixReferenceHeight", path)
    assert width is not None and height is not None
    if not (1 <= width <= MAX_REFERENCE_PX and 1 <= height <= MAX_REFERENCE_PX):
        raise _wrong(path, f"intrinsics of a picture of at most {MAX_REFERENCE_PX} px a side", f"{width} x {height}")
    return round(height), round(width)


def _intrinsics(root: ElementTree.Element, path: Path) -> Float[np.ndarray, "3 3"]:
    values = _numbers(root, f"{DEPTH_DATA}IntrinsicMatrix", path)
    if len(values) != 9:
        raise _wrong(path, "camera intrinsics (9 numbers) in the depth picture's XMP", f"{len(values) or 'none'}")
    K = values.reshape(3, 3).T  # stored by columns
    if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2, 2] == 1 and not K[1, 0] and not K[2, :2].any()):
        raise _wrong(path, "intrinsics with positive focal lengths and last row 0 0 1", f"{K.tolist()}")
    return K


def _lens(root: ElementTree.Element, pixel_size_mm: float | None, path: Path) -> RadialLens | None:
    coefficients = _numbers(root, f"{DEPTH_DATA}LensDistortionCoefficients", path)
    if not len(coefficients):
        return None
    if not pixel_size_mm or pixel_size_mm <= 0:
        raise _wrong(path, "the pixel size that the lens polynomial needs", f"{pixel_size_mm}")
    centre = [_number(root, f"{DEPTH_DATA}LensDistortionCenterOffset{axis}", path) for axis in "XY"]
    return RadialLens(coefficients, np.array(centre, np.float64), pixel_size_mm)


def _text(root: ElementTree.Element, name: str) -> str | None:
    """A property's text; XMP may write it as an element or as an attribute of the description."""
    for element in root.iter():
        if element.tag == name:
            return (element.text or "").strip()
        if name in element.attrib:
            return element.attrib[name].strip()
    return None


def _number(root: ElementTree.Element, name: str, path: Path, optional: bool = False) -> float | None:
    text = _text(root, name)
    if text is None and optional:
        return None
    return _as_number(text, name, path)


def _numbers(root: ElementTree.Element, name: str, path: Path) -> Float[np.ndarray, "n"]:
    items = [item.text for element in root.iter(name) for item in element.iter(RDF_ITEM)]
    return np.array([_as_number(item, name, path) for item in items[:64]], np.float64)


def _as_number(text: str | None, name: str, path: Path) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        label = name.partition("}")[2]
        raise _wrong(path, f"a number for {label} in the depth picture's XMP", f"{(text or 'none')[:40]}")
    return number


def _wrong(path: Path, expected: str, got: str) -> InputError:
    return InputError(expected, f"{got} in {path}", REMEDY)
