"""JPEGs are decoded whole or refused, and lose everything that tells of people but no pixel."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage.jpeg import DamagedJpeg, decode_jpeg, outline_of_jpeg, strip_jpeg_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (101, 203, 3), dtype=np.uint8)
OPTIONS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "444": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "411": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_RST_INTERVAL, 5],
}


def jpeg(name: str = "baseline", pixels: np.ndarray = PIXELS) -> bytes:
    return cv2.imencode(".jpg", pixels, OPTIONS[name])[1].tobytes()


def telling(orientation: int = 6) -> bytes:
    """A JPEG as a phone writes it: EXIF with GPS and a thumbnail, XMP, a comment, and a second picture behind."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of phones"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 18.0)})
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", exif=exif, comment=b"Jane Doe", quality=90)
    whole = file.getvalue()
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>Jane Doe</x:xmpmeta>"
    # A JFIF header with a thumbnail of 2 x 1 pixels.
    jfif = b"JFIF\0\x01\x01\0\0\x01\0\x01\x02\x01" + b"thumbs"
    segments = b"".join(
        b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
        for marker, body in ((0xE0, jfif), (0xE1, xmp))
    )
    return whole[:2] + segments + whole[2:] + jpeg()


@pytest.mark.parametrize("name", OPTIONS)
def test_pixels_are_pillows(name: str) -> None:
    data = jpeg(name)
    assert outline_of_jpeg(data).size_hw == (101, 203) and outline_of_jpeg(data).end == len(data)
    np.testing.assert_array_equal(decode_jpeg(data), np.array(Image.open(io.BytesIO(data))))
    assert strip_jpeg_metadata(data) == data


def test_grey_is_three_equal_channels() -> None:
    data = jpeg(pixels=PIXELS[..., 0])
    grey = np.array(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_jpeg(data), np.stack([grey] * 3, -1))


def test_nothing_that_tells_of_people_stays_and_no_pixel_changes() -> None:
    data = telling()
    stripped = strip_jpeg_metadata(data)
    assert all(word in data for word in (b"Exif", b"Maker", b"Jane", b"xap", b"thumbs"))
    assert not any(word in stripped for word in (b"Exif", b"Maker", b"Jane", b"xap", b"thumbs"))
    image = Image.open(io.BytesIO(stripped))
    assert not image.getexif() and image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
    np.testing.assert_array_equal(decode_jpeg(stripped), decode_jpeg(data))
    assert stripped.endswith(b"\xff\xd9") and strip_jpeg_metadata(stripped) == stripped


def test_the_orientation_of_exif_is_not_applied() -> None:
    for orientation in (1, 6, 8):
        assert decode_jpeg(telling(orientation)).shape == (101, 203, 3)


def test_adobes_colour_transform_stays() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", keep_rgb=True)
    data = file.getvalue()
    assert b"Adobe" in data
    np.testing.assert_array_equal(decode_jpeg(strip_jpeg_metadata(data)), np.array(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_cut_off_picture_is_refused_and_never_filled_with_grey(name: str) -> None:
    data = jpeg(name)
    for length in {*range(700), *range(len(data) - 3, len(data)), *range(0, len(data), 997)}:
        with pytest.raises(DamagedJpeg):
            decode_jpeg(data[:length])


def test_a_lost_restart_interval_is_noticed() -> None:
    data = jpeg("restarts")
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    with pytest.raises(DamagedJpeg, match="restart"):
        decode_jpeg(data[:first] + data[second:])


@pytest.mark.parametrize(("rows", "columns"), [(65535, 65535), (8192, 8193), (4000, 4000), (0, 203)])
def test_absurd_sizes_are_refused_before_anything_is_allocated(rows: int, columns: int) -> None:
    data = bytearray(jpeg())
    position = data.index(b"\xff\xc0") + 5
    data[position : position + 4] = struct.pack(">HH", rows, columns)
    with pytest.raises(DamagedJpeg, match="px"):
        decode_jpeg(bytes(data))


def test_processes_that_no_camera_uses_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(file, "JPEG")
    with pytest.raises(DamagedJpeg, match="4 components"):
        decode_jpeg(file.getvalue())
    with pytest.raises(DamagedJpeg, match="process"):
        decode_jpeg(jpeg().replace(b"\xff\xc0", b"\xff\xc9"))
    with pytest.raises(DamagedJpeg, match="no JPEG"):
        decode_jpeg(cv2.imencode(".png", PIXELS)[1].tobytes())


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_damage_is_a_refusal_or_a_picture_of_the_right_size(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(OPTIONS)))
    damaged = bytearray(jpeg(name))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_jpeg(bytes(damaged))
    except DamagedJpeg:
        return
    assert pixels.dtype == np.uint8 and pixels.shape == (*outline_of_jpeg(bytes(damaged)).size_hw, 3)


def test_real_photographs_lose_their_metadata_only(real_data: Path) -> None:
    for path in sorted(real_data.rglob("*.jpg")):
        data = path.read_bytes()
        stripped = strip_jpeg_metadata(data)
        assert len(stripped) <= len(data) and b"Exif\0" not in stripped and b"ns.adobe.com" not in stripped
        np.testing.assert_array_equal(decode_jpeg(stripped), np.array(Image.open(io.BytesIO(data)).convert("RGB")))
        for length in range(0, len(stripped), 2**16):
            with pytest.raises(DamagedJpeg):
                decode_jpeg(stripped[:length])
