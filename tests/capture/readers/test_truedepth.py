"""TrueDepth portraits: three real ones, and what is wrong with broken ones."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from capture.readers.apple_depth_xmp import parse_depth_xmp, xmp_packets
from capture.readers.orientation import EXIF_ORIENTATIONS
from capture.readers.radial_lens import RadialLens, fit_opencv_distortion
from capture.readers.recording import Recording
from capture.readers.truedepth import DEPTH, RGB, read_truedepth, recognises_truedepth
from geometry.cameras import Camera
from geometry.errors import InputError
from tests.capture.readers.contract import ReaderContract

FACE, CHIN_UP, JPEG = "heic_face_data.heic", "heic_depth_data.heic", "jpeg_depth_data.jpg"
PUPILS_PX = {
    FACE: ((869, 1325), (1370, 1326)),
    CHIN_UP: ((850, 1190), (1280, 1157)),
    JPEG: ((945, 1085), (1365, 1080)),
}
"""Measured in the colour pictures: by face landmarks, by eye where the chin is up."""
SILHOUETTES_ROWS_COLUMNS = {
    FACE: ((150, 330), (60, 420)),
    CHIN_UP: ((230, 330), (60, 420)),
    JPEG: ((455, 530), (0, 110)),
}
"""Where, in depth pixels, the outline of head or shoulder lies before a plain wall."""


@pytest.fixture(scope="module")
def portraits(real_data: Path) -> Path:
    return real_data / "rgbd" / "truedepth_portraits"


class TestHeicPortrait(ReaderContract):
    reader = "truedepth"

    @pytest.fixture
    def source(self, portraits: Path) -> Path:
        return portraits / FACE


class TestJpegPortrait(ReaderContract):
    reader = "truedepth"

    @pytest.fixture
    def source(self, portraits: Path) -> Path:
        return portraits / JPEG


def _cloud(recording: Recording) -> np.ndarray:
    camera = recording.rig[DEPTH]
    assert camera.depth_unit_m is not None
    return camera.unproject_depth(recording.read_frame(DEPTH, 0) * camera.depth_unit_m)[0]


def _pupil_distance_mm(recording: Recording, pupils: tuple[tuple[int, int], ...]) -> float:
    """From colour pixels by the colour camera's rays and the median depth of the 5 x 5 pixels there."""
    colour, depth_camera = recording.rig[RGB], recording.rig[DEPTH]
    depth_m = recording.read_frame(DEPTH, 0) * 1e-4
    rays = np.column_stack([colour.pixels_to_normalised(np.array(pupils, float)), np.ones(2)])
    where, _ = depth_camera.project(depth_camera.world_from_camera @ rays)
    z = [np.median(depth_m[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]) for x, y in where]
    return 1e3 * float(np.linalg.norm(rays[0] * z[0] - rays[1] * z[1]))


@pytest.mark.parametrize(("name", "low", "high"), [(FACE, 57, 67), (JPEG, 57, 67), (CHIN_UP, 57, 72)])
def test_the_pupils_are_as_far_apart_as_people_s_are(portraits: Path, name: str, low: float, high: float) -> None:
    # Chin up, the eyes are seen at a grazing angle and their filtered depth is less certain: a wider bound.
    assert low < _pupil_distance_mm(read_truedepth(portraits / name), PUPILS_PX[name]) < high


def test_unequal_focal_lengths_are_settled_by_exif_and_noted(portraits: Path) -> None:
    recording = read_truedepth(portraits / CHIN_UP)
    K = recording.rig[RGB].K
    assert K[0, 0] == K[1, 1] == pytest.approx(2718.4036)
    assert any("fx 2085.5 and fy 2718.4" in note and "2690" in note for note in recording.notes)
    same_phone = read_truedepth(portraits / FACE)
    assert K[0, 0] == pytest.approx(same_phone.rig[RGB].K[0, 0], rel=2e-3)
    assert not any("focal lengths differ" in note for note in same_phone.notes)


@pytest.mark.parametrize("name", [FACE, CHIN_UP, JPEG])
def test_colour_lines_up_with_depth_at_the_outline_of_the_head(portraits: Path, name: str) -> None:
    recording = read_truedepth(portraits / name)
    depth = recording.read_frame(DEPTH, 0).astype(np.float32)
    colour = cv2.resize(recording.read_frame(RGB, 0), depth.shape[::-1], interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(np.float32)
    outline = cv2.Canny((255 * np.clip(depth / 12_000, 0, 1)).astype(np.uint8), 60, 160) > 0
    (top, bottom), (left, right) = SILHOUETTES_ROWS_COLUMNS[name]
    window = np.zeros_like(outline)
    window[top:bottom, left:right] = True
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    rows, columns = np.nonzero(outline & window)
    assert len(rows) > 80

    def strength(dx: int) -> float:
        return float(gradient[rows, np.clip(columns + dx, 0, 479)].mean())

    shifts = range(-12, 13)
    best = max(shifts, key=strength)
    assert abs(best) <= 2, f"colour edges are {best} depth pixels from depth edges"
    assert strength(best) > 1.5 * np.mean([strength(dx) for dx in (-12, -11, -10, 10, 11, 12)])


def test_the_frames_and_the_world_are_upright_and_faced(portraits: Path) -> None:
    recording = read_truedepth(portraits / FACE)
    rgb, depth = recording.rig[RGB], recording.rig[DEPTH]
    assert rgb.image_size_hw == (3088, 2316) and depth.image_size_hw == (640, 480)
    assert rgb.module == depth.module
    points = _cloud(recording)
    head, chest = points[250, 240], points[600, 240]
    assert head[1] > chest[1] + 0.1 and -0.45 < head[2] < -0.25
    nose, eyes = points[315, 233], points[275, [180, 284]]
    assert nose[2] > eyes[:, 2].max() + 0.01  # the nose is nearest to the camera, which the subject faces
    # The left of the picture is the world's -x: a portrait is not a mirror.
    assert points[300, 130, 0] < points[300, 340, 0]


def test_both_cameras_see_the_same_point_at_the_same_place(portraits: Path) -> None:
    recording = read_truedepth(portraits / JPEG)
    points = _cloud(recording)[::37, ::37].reshape(-1, 3)
    in_rgb, _ = recording.rig[RGB].project(points)
    in_depth, _ = recording.rig[DEPTH].project(points)
    rows, columns = np.mgrid[0:640:37, 0:480:37] + 0.5
    assert np.abs(in_depth - np.stack([columns, rows], -1).reshape(-1, 2)).max() < 0.02
    assert np.abs(in_rgb - in_depth * 2316 / 480).max() < 1e-6


def test_depth_is_the_inverse_of_disparity_in_tenths_of_millimetres(portraits: Path) -> None:
    frame = read_truedepth(portraits / FACE).read_frame(DEPTH, 0)
    assert len(np.unique(frame)) <= 256
    assert frame.min() == round(1e4 / 3.402344) and frame.max() == round(1e4 / 0.493652)


def test_the_clock_is_exif_s_time(portraits: Path) -> None:
    recording = read_truedepth(portraits / FACE)
    taken = np.datetime64("2022-11-30T18:37:39.623", "ns").astype(np.int64)  # 19:37:39 +01:00
    assert recording.clocks[RGB].device_ns.tolist() == recording.clocks[DEPTH].device_ns.tolist() == [taken]


def test_notes_say_what_the_phone_did(portraits: Path) -> None:
    face, jpeg = (" | ".join(read_truedepth(portraits / name).notes) for name in (FACE, JPEG))
    assert "rectified by the phone" in face and "filtered by the phone" in face and "256 steps" in face
    assert "not rectified" in jpeg and "lens polynomial within 0.02 px" in jpeg
    assert "Display P3" in face


def test_the_unrectified_jpeg_carries_a_lens_that_undistorts_and_comes_back(portraits: Path) -> None:
    rgb = read_truedepth(portraits / JPEG).rig[RGB]
    assert rgb.distortion.shape == (8,)
    x, y = np.meshgrid(np.linspace(1, 2315, 12), np.linspace(1, 3087, 16))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    rays = np.column_stack([rgb.pixels_to_normalised(pixels), np.ones(len(pixels))])
    back, _ = rgb.project(rgb.world_from_camera @ (0.4 * rays))
    assert np.abs(back - pixels).max() < 0.1
    assert read_truedepth(portraits / FACE).rig[RGB].distortion.shape == (0,)


def test_the_lens_polynomials_of_the_jpeg_undo_each_other(portraits: Path) -> None:
    data = (portraits / JPEG).read_bytes()
    packet = next(packet for packet in xmp_packets(data) if b"depthData/1.0/" in packet)
    metadata = parse_depth_xmp(packet, Path("portrait"))
    swapped = packet.replace(b":LensDist", b":XLensDist").replace(b":XLensDistortionCenter", b":LensDistortionCenter")
    inverse = parse_depth_xmp(swapped.replace(b":InverseLensDist", b":LensDist"), Path("portrait"))
    assert metadata and metadata.lens and inverse and inverse.lens
    x, y = np.meshgrid(np.linspace(0, 2316, 30), np.linspace(0, 3088, 40))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    moved = metadata.lens.distort_pixels(pixels)
    assert np.linalg.norm(moved - pixels, axis=1).max() > 10
    assert np.linalg.norm(inverse.lens.distort_pixels(moved) - pixels, axis=1).max() < 0.25


@pytest.mark.parametrize("offset_px", [0.0, 15.0])
def test_the_fit_recovers_a_lens_that_opencv_can_express(offset_px: float) -> None:
    K = np.array([[2700.0, 0, 1150], [0, 2700, 1550], [0, 0, 1]])
    # m = -0.2 % r^2 + 0.02 % r^4 of mm, that is k1 = -0.002 (2.7)^2 and k2 = 0.0002 (2.7)^4 for 1 um pixels.
    lens = RadialLens(np.array([0, 0, -0.2, 0, 0.02]), np.array([1150 + offset_px, 1550.0]), 1e-3)
    coefficients, worst_px = fit_opencv_distortion(lens, K, (3088, 2316))
    if offset_px:
        assert worst_px < 0.5 and np.abs(coefficients[2:4]).max() > 0
    else:
        assert worst_px < 0.01 and not coefficients[2:4].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_move_pixels_and_positions_alike(orientation: int) -> None:
    turn = EXIF_ORIENTATIONS[orientation]
    stored = np.arange(3 * 5).reshape(3, 5)
    upright = turn.pixels(stored)
    assert upright.shape == turn.size_hw((3, 5))
    for row, column in np.ndindex(3, 5):
        x, y, _ = turn.matrix((3, 5)) @ [column + 0.5, row + 0.5, 1]
        assert upright[int(y), int(x)] == stored[row, column]
    image = Image.fromarray(stored.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(Image.open(buffer))), upright)
    K = turn.intrinsics(np.array([[10.0, 0, 2], [0, 20, 1], [0, 0, 1]]), (3, 5))
    assert K[0, 0] > 0 and K[1, 1] > 0 and not K[1, 0] and not K[0, 1]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_jpeg_is_the_same_scene_turned(portraits: Path, tmp_path: Path, orientation: int) -> None:
    data = (portraits / JPEG).read_bytes()
    tag = bytes.fromhex("011200030000000100010000")
    assert data.count(tag) == 1
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(data.replace(tag, tag[:8] + bytes([0, orientation, 0, 0])))
    plain, other = read_truedepth(portraits / JPEG), read_truedepth(turned)
    quarter_turns = {3: 2, 6: -1, 8: 1}[orientation]
    for camera_id in (RGB, DEPTH):
        assert np.array_equal(other.read_frame(camera_id, 0), np.rot90(plain.read_frame(camera_id, 0), quarter_turns))
    points, points_other = _cloud(plain), np.rot90(_cloud(other), -quarter_turns)
    c, s = np.cos(quarter_turns * np.pi / 2), np.sin(quarter_turns * np.pi / 2)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert np.abs(points @ about_z.T - points_other).max() < 1e-5


def test_a_mirrored_jpeg_says_so(portraits: Path, tmp_path: Path) -> None:
    tag = bytes.fromhex("011200030000000100010000")
    mirrored = tmp_path / "mirrored.jpg"
    mirrored.write_bytes((portraits / JPEG).read_bytes().replace(tag, tag[:8] + bytes([0, 2, 0, 0])))
    assert any("mirrored" in note for note in read_truedepth(mirrored).notes)


@pytest.mark.parametrize("name", [FACE, JPEG])
@pytest.mark.parametrize("share", [0.001, 0.005, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_portrait_is_refused_by_name(portraits: Path, tmp_path: Path, name: str, share: float) -> None:
    data = (portraits / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=re.escape(name)):
        read_truedepth(cut)


@pytest.mark.parametrize("name", [FACE, JPEG])
def test_a_file_that_breaks_after_opening_is_refused_on_reading(portraits: Path, tmp_path: Path, name: str) -> None:
    data = (portraits / name).read_bytes()
    copy = tmp_path / name
    copy.write_bytes(data)
    recording = read_truedepth(copy)
    copy.write_bytes(data[: len(data) // 2])
    for camera_id in (RGB, DEPTH):
        with pytest.raises(InputError, match=re.escape(name)):
            recording.read_frame(camera_id, 0)
    copy.unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        recording.read_frame(RGB, 0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged EXIF
def test_damaged_bytes_never_end_in_anything_but_a_recording_or_an_input_error(portraits: Path, tmp_path: Path) -> None:
    data = (portraits / JPEG).read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(12):
        damaged = bytearray(data)
        for place in generator.integers(0, 20_000, 40):
            damaged[place] = generator.integers(0, 256)
        copy = tmp_path / "damaged.jpg"
        copy.write_bytes(damaged)
        try:
            read_truedepth(copy)
        except InputError:
            refused += 1
    assert 0 < refused < 12


def test_a_plain_jpeg_has_no_depth_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    plain = tmp_path / "plain.jpg"
    Image.new("RGB", (64, 48), (200, 100, 50)).save(plain)
    assert recognises_truedepth(plain) == "a single JPEG picture"
    with pytest.raises(InputError, match=r"depth picture.*plain\.jpg.*Portrait mode"):
        read_truedepth(plain)


def test_what_is_no_picture_is_not_recognised_and_refused(tmp_path: Path) -> None:
    text = tmp_path / "portrait.heic"
    text.write_text("not a picture at all")
    movie = tmp_path / "movie.heic"
    movie.write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(100))
    for path in (text, movie, tmp_path):
        assert recognises_truedepth(path) is None
        with pytest.raises(InputError):
            read_truedepth(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"IntrinsicMatrix>", b"IntrinsicMatriX>", "intrinsics"),
        (b"2890.630615234375", b"-890.630615234375", "positive focal"),
        (b"2890.630615234375", b"nan0.630615234375", "IntrinsicMatrix"),
        (b">2316</depthData:Intr", b">9e99</depthData:Intr", "intrinsics of a picture"),
        (b">2316</depthData:Intr", b">1158</depthData:Intr", "colour picture's shape"),
        (b"<apdi:FloatMaxValue>2.808594", b"<apdi:FloatMaxValue>0.108594", "depth range"),
        (b"FloatMinValue", b"FloatMinValuX", "FloatMinValue"),
        (b">1278226488<", b">1751411059<", "8-bit grey"),
        (b"ns.apple.com/depthData/1.0/", b"ns.apple.com/depthDatX/1.0/", "XMP with range"),
        (b"</depthData:IntrinsicMatrix>", b"</depthData:IntrinsicMatriX>", "well-formed"),
        (b'<rdf:Description rdf:about=""', b'<!ENTITY scription rdf:out=""', "entities"),
    ],
)
def test_wrong_xmp_is_refused_with_what_is_wrong(
    portraits: Path, tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    data = (portraits / JPEG).read_bytes()
    assert old in data and len(old) == len(new)
    wrong = tmp_path / "wrong.jpg"
    wrong.write_bytes(data.replace(old, new))
    with pytest.raises(InputError, match=words):
        read_truedepth(wrong)


def test_a_declared_size_beyond_reason_is_refused_before_anything_is_decoded(portraits: Path, tmp_path: Path) -> None:
    jpeg = (portraits / JPEG).read_bytes()
    frame_header = b"\xff\xc0\x00\x11\x08" + (3088).to_bytes(2) + (2316).to_bytes(2)
    assert jpeg.count(frame_header) == 1
    huge = tmp_path / "huge.jpg"
    huge.write_bytes(jpeg.replace(frame_header, frame_header[:5] + b"\xff\xff\xff\xff"))
    heic = (portraits / FACE).read_bytes()
    extents = b"ispe\0\0\0\0" + (2316).to_bytes(4) + (3088).to_bytes(4)
    huge_heic = tmp_path / "huge.heic"
    huge_heic.write_bytes(heic.replace(extents, extents[:8] + (60_000).to_bytes(4) * 2))
    assert extents in heic
    for path in (huge, huge_heic):
        with pytest.raises(InputError, match=path.name):
            read_truedepth(path)


def test_the_camera_of_a_portrait_is_a_phone_s(portraits: Path) -> None:
    camera: Camera = read_truedepth(portraits / JPEG).rig[RGB]
    assert camera.serial == "iPhone XS" and camera.rate_hz == 0 and "XMP" in camera.calibration_source
