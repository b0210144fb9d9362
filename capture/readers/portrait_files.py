"""The two containers of a TrueDepth portrait, HEIC and JPEG: their pictures, XMP and EXIF, checked before use."""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pi_heif
from jaxtyping import UInt8
from PIL import Image, ImageCms

from capture.readers.apple_depth_xmp import AppleDepthMetadata, parse_depth_xmp, xmp_packets
from geometry.errors import InputError

MAX_FILE_BYTES = 256 << 20
MAX_PICTURE_PX = 80_000_000
"""Phones stop at 48 million; the front camera has 12."""
MAX_PICTURES = 16
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"}
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
# What Pillow and libheif's binding raise on broken files.
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, RuntimeError, KeyError, IndexError, TypeError, AttributeError,
    OverflowError, AssertionError, ZeroDivisionError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
REMEDY = "copy the file again; export the unedited original from the phone, with its depth"


@dataclass(frozen=True)
class ExifFacts:
    """The few EXIF fields that matter here; empty where they are missing."""

    orientation: int = 1
    focal_mm: float | None = None
    device: str = ""
    taken: str = ""
    """Local time, "2022:11:30 19:37:39"."""
    subseconds: str = ""
    utc_offset: str = ""
    """Such as "+01:00"."""


@dataclass(frozen=True, eq=False)
class PortraitFile(ABC):
    """An opened portrait whose headers are checked and whose pixels are not decoded yet."""

    path: Path
    metadata: AppleDepthMetadata
    """Of the depth picture."""
    exif: ExifFacts
    colour_hw: tuple[int, int]
    depth_hw: tuple[int, int]
    turned_by_decoder: bool
    """Whether the decoder has applied the orientation, or EXIF's is still to be applied."""
    notes: tuple[str, ...]

    @abstractmethod
    def read_colour(self) -> UInt8[np.ndarray, "h w 3"]:
        """The colour picture in sRGB."""

    @abstractmethod
    def read_depth_grey(self) -> UInt8[np.ndarray, "h w"]:
        """Grey values of the depth picture."""


def picture_format(path: Path) -> str | None:
    """ "HEIC" or "JPEG" by the first bytes of a file, or None."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return _format_of(file.read(64))
    except (OSError, ValueError):
        return None


def open_portrait_file(path: Path) -> PortraitFile:
    """A portrait with checked headers; raises InputError for whatever is missing or wrong in the file."""
    data = _read_whole_file(path)
    format_name = _format_of(data[:64])
    if format_name is None:
        raise InputError("a HEIC or JPEG picture", f"{path}, which is neither", "name the portrait itself")
    try:
        return _open_heic(path, data) if format_name == "HEIC" else _open_jpeg(path, data)
    except DECODER_ERRORS as error:
        raise _undecodable(path, format_name, error) from error


@dataclass(frozen=True, eq=False)
class _Heic(PortraitFile):
    heif: pi_heif.HeifFile

    def read_colour(self) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return _srgb_pixels(self.heif.to_pillow())
        except DECODER_ERRORS as error:
            raise _undecodable(self.path, "HEIC", error) from error

    def read_depth_grey(self) -> UInt8[np.ndarray, "h w"]:
        try:
            # Through Pillow, which copies: an array made from the binding's own buffer outlives its memory.
            return np.array(self.heif.info["depth_images"][0].to_pillow().convert("L"))
        except DECODER_ERRORS as error:
            raise _undecodable(self.path, "HEIC", error) from error


@dataclass(frozen=True, eq=False)
class _Jpeg(PortraitFile):
    data: bytes
    depth_index: int

    def read_colour(self) -> UInt8[np.ndarray, "h w 3"]:
        return self._decoded(0)

    def read_depth_grey(self) -> UInt8[np.ndarray, "h w"]:
        return self._decoded(self.depth_index)

    def _decoded(self, index: int) -> np.ndarray:
        try:
            with _jpeg_image(self.data) as image:
                image.seek(index)
                return np.array(image.convert("L")) if index else _srgb_pixels(image)
        except DECODER_ERRORS as error:
            raise _undecodable(self.path, "JPEG", error) from error


def _open_heic(path: Path, data: bytes) -> PortraitFile:
    _check_boxes_are_whole(path, data)
    heif = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    depth_images = heif.info["depth_images"]
    if not depth_images:
        raise _no_depth(path)
    metadata = next((found for packet in xmp_packets(data) if (found := parse_depth_xmp(packet, path))), None)
    if metadata is None:
        raise _no_metadata(path)
    _check_size(path, heif.size)
    _check_size(path, depth_images[0].size)
    exif, notes = _exif_facts(heif.info.get("exif"))
    notes += _profile_notes(heif.info.get("icc_profile"))
    if len(depth_images) > 1:
        notes.append(f"the file holds {len(depth_images)} depth pictures: the first is used")
    colour_hw, depth_hw = _size_hw(heif.size), _size_hw(depth_images[0].size)
    return _Heic(path, metadata, exif, colour_hw, depth_hw, True, tuple(notes), heif)


def _open_jpeg(path: Path, data: bytes) -> PortraitFile:
    with _jpeg_image(data) as image:
        _check_size(path, image.size)
        colour_hw = _size_hw(image.size)
        exif, notes = _exif_facts(image.info.get("exif"))
        notes += _profile_notes(image.info.get("icc_profile"))
        pictures = getattr(image, "n_frames", 1)
        if pictures > MAX_PICTURES:
            raise InputError(f"at most {MAX_PICTURES} pictures in one JPEG", f"{pictures} in {path}", REMEDY)
        found: tuple[int, tuple[int, int], AppleDepthMetadata] | None = None
        for index in range(1, pictures):
            image.seek(index)
            _check_size(path, image.size)
            image.load()  # small ones; a file that was cut ends in one of them
            metadata = next((m for packet in _jpeg_xmp(image) if (m := parse_depth_xmp(packet, path))), None)
            if metadata is not None and found is None:
                found = index, _size_hw(image.size), metadata
    if found is None:
        raise _no_metadata(path) if pictures > 1 else _no_depth(path)
    depth_index, depth_hw, metadata = found
    return _Jpeg(path, metadata, exif, colour_hw, depth_hw, False, tuple(notes), data, depth_index)


def _jpeg_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("JPEG",))


def _jpeg_xmp(image: Image.Image) -> list[bytes]:
    """XMP of the picture that was sought last; Pillow's `info` may still hold that of the one before."""
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    return [content[len(XMP_PREFIX) :] for _, content in segments if content.startswith(XMP_PREFIX)]


def _srgb_pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels in sRGB; phones store Display P3 and say so in a profile."""
    profile = image.info.get("icc_profile")
    rgb = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            ImageCms.profileToProfile(
                rgb, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, inPlace=True
            )
        except (ImageCms.PyCMSError, OSError):
            pass  # the recording's notes say that the profile does not read
    return np.array(rgb)


def _profile_notes(profile: bytes | None) -> list[str]:
    if not profile:
        return []
    try:
        name = ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError):
        return ["the colour profile does not read: colours are taken as sRGB"]
    return [] if name.startswith("sRGB") else [f"colours converted from {name} to sRGB"]


def _exif_facts(exif_bytes: bytes | None) -> tuple[ExifFacts, list[str]]:
    """Tags: 0x0112 orientation, 0x0110 model, 0x920A focal length, 0x9003, 0x9291 and 0x9011 time of exposure."""
    if not exif_bytes:
        return ExifFacts(), []
    try:
        exif = Image.Exif()
        exif.load(exif_bytes)
        photo = exif.get_ifd(0x8769)
        focal_mm = float(photo.get(0x920A, 0)) or None
        texts = [str(photo.get(tag, "")).strip("\x00 ") for tag in (0x9003, 0x9291, 0x9011)]
        device = str(exif.get(0x0110, "")).strip("\x00 ")[:80]
        return ExifFacts(int(exif.get(0x0112, 1)), focal_mm, device, *texts), []
    except DECODER_ERRORS:
        return ExifFacts(), ["the EXIF block does not read: taken as upright and without time"]


def _check_boxes_are_whole(path: Path, data: bytes) -> None:
    """A HEIC is a row of boxes, each with its length; libheif accepts one whose end is missing.

    Source: ISO/IEC 14496-12, 4.2.
    """
    position = 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length == 0:  # to the end of the file
            return
        if length < 8:
            raise ValueError(f"a box of {length} bytes at {position}")
        position += length
    if position != len(data):
        raise InputError(f"a whole HEIC of {position:,} bytes", f"{len(data):,} bytes in {path}", REMEDY)


def _check_size(path: Path, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    if width < 1 or height < 1 or width * height > MAX_PICTURE_PX:
        limit = f"pictures of at most {MAX_PICTURE_PX // 1_000_000} million pixels"
        raise InputError(limit, f"{width} x {height} in {path}", "name a portrait that a phone took")


def _size_hw(size_wh: tuple[int, int]) -> tuple[int, int]:
    return size_wh[1], size_wh[0]


def _read_whole_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError("a single HEIC or JPEG file", f"{path}, which is none", "name the portrait itself")
        if size > MAX_FILE_BYTES:
            limit = f"a portrait of at most {MAX_FILE_BYTES >> 20} MiB"
            raise InputError(limit, f"{size >> 20} MiB in {path}", "name the portrait itself")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError("a readable portrait", f"{path} ({error})", "check the path and its permissions") from error


def _format_of(head: bytes) -> str | None:
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[4:8] == b"ftyp" and HEIC_BRANDS & {head[at : at + 4] for at in range(8, len(head) - 3, 4)}:
        return "HEIC"
    return None


def _undecodable(path: Path, format_name: str, error: BaseException) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"a whole {format_name} that decodes", f"{path} ({reason})", REMEDY)


def _no_depth(path: Path) -> InputError:
    remedy = "take it in Portrait mode and export the original; messengers and editors drop the depth"
    return InputError("a portrait with a depth picture inside", f"{path}, which holds colour only", remedy)


def _no_metadata(path: Path) -> InputError:
    return InputError("XMP with range and intrinsics of the depth picture", f"none in {path}", REMEDY)
