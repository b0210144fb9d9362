"""What pictures say of where and by whom they were taken never reaches a take."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from capture.ingest import IngestConfig
from capture.readers.image_folder import read_image_folder
from storage.take import Take
from tests.capture.synthetic_recording import plain_script, write_recording
from workflows.watching import WatchTools

MAKER, OWNER, ARTIST, CAPTION = "TELLTALE-MAKER", "TELLTALE-OWNER", "TELLTALE-ARTIST", "TELLTALE-CAPTION"


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F], tags[0x013B] = MAKER, ARTIST
    tags.get_ifd(0x8769)[0xA430] = OWNER
    place = tags.get_ifd(0x8825)
    place[1], place[2] = "N", (52.0, 31.0, 8.7654)
    return tags.tobytes()


def told(data: bytes) -> bytes:
    """A JPEG with EXIF, XMP, IPTC and a comment behind its start marker."""
    xmp = f'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><exif:GPSLatitude="52,31.5"/><dc:creator>{OWNER}</dc:creator>'
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(CAPTION)) + CAPTION.encode()
    parts = [(0xE1, exif()), (0xE1, xmp.encode()), (0xED, iptc), (0xFE, CAPTION.encode())]
    segments = b"".join(b"\xff" + bytes([kind]) + struct.pack(">H", len(part) + 2) + part for kind, part in parts)
    return data[:2] + segments + data[2:]


def told_png(data: bytes) -> bytes:
    """A PNG with EXIF and text."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", OWNER)
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{CAPTION}</x:xmpmeta>")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG", pnginfo=text, exif=exif())
    return buffer.getvalue()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two cameras' pictures, JPEG and PNG, full of personal data; and what they are without."""
    source = write_recording(tmp_path / "recording", plain_script(4), jpeg=("right_rgb",))
    for path in source.rglob("*.jpg"):
        path.write_bytes(told(path.read_bytes()))
    for path in (source / "left_rgb").glob("*.png"):
        path.write_bytes(told_png(path.read_bytes()))
    return source


def test_the_pictures_do_tell(recording: Path) -> None:
    """Else the test below would prove nothing."""
    for path in (recording / "right_rgb" / "000000.jpg", recording / "left_rgb" / "000000.png"):
        data = path.read_bytes()
        assert all(word.encode() in data for word in (MAKER, OWNER, ARTIST, CAPTION))
        with Image.open(path) as image:
            assert image.getexif().get_ifd(0x8825)[1] == "N"


def test_exif_gps_xmp_and_comments_stay_behind(recording: Path, tmp_path: Path) -> None:
    take = WatchTools.usual().ingest(recording, tmp_path / "take.zarr", IngestConfig())
    tell_tales = [word.encode() for word in (MAKER, OWNER, ARTIST, CAPTION, "Exif\0", "xmpmeta", "GPSL", "Photoshop")]
    files = [path for path in (tmp_path / "take.zarr").rglob("*") if path.is_file()]
    assert len(files) > 10
    found = {(path.name, word) for path in files for word in tell_tales if word in path.read_bytes()}
    assert found == set()
    for camera_id in ("right_rgb", "left_rgb"):
        pixels = read_image_folder(recording).read_frame(camera_id, 2)
        assert np.array_equal(Take.open(take.path).stream(camera_id).frame(2), pixels)
