"""The report is one whole, safe file that shows what the take holds and names what it lacks."""

import base64
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import Mesh
from geometry.rigs import Rig
from geometry.transforms import look_at
from rendering.arrays import rasterize_arrays
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.results import Provenance, ResultArray
from storage.take import Sync, Take, TakeHeader
from workflows.report import write_report
from workflows.report.charts import grouped, readable
from workflows.report.checks import verdict_words
from workflows.report.contents import SurfaceDistance
from workflows.report.markup import element
from workflows.report.pictures import Shot, jpeg_uri

FRAMES, SIZE_HW = 6, (96, 128)
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>"
CURVES = ("jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp", HOSTILE)
STRONGEST = 4
CENTRE = np.array([0.0, 1.2, 0.0])
BUMP_M = 0.001


@dataclass(frozen=True)
class FoundCheck:
    name: str
    camera: str | None
    value: float | None
    unit: str
    limit: float | None
    verdict: str
    message: str


@dataclass(frozen=True)
class FoundQuality:
    checks: tuple[Any, ...]


def _check(verdict: str, number: int = 0, message: str = "") -> FoundCheck:
    return FoundCheck(f"check-{number}", "front", 1.5, "px", 2.0, verdict, message)


def _ball(radius_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A closed ball of evenly sized triangles."""
    rows, columns = 20, 30
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows), np.arange(columns) * 2 * np.pi / columns, indexing="ij")
    xyz = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], -1).reshape(-1, 3)
    number = np.arange(rows * columns).reshape(rows, columns)
    number[0], number[-1] = number[0, 0], number[-1, 0]
    a, b = number[:-1], number[1:]
    c, d = np.roll(b, -1, 1), np.roll(a, -1, 1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return xyz * radius_m, faces[distinct].astype(np.int32)


def _camera(camera_id: str, x: float, kind: Any = "rgb") -> Camera:
    K = np.array([[150.0, 0.0, 64.0], [0.0, 150.0, 48.0], [0.0, 0.0, 1.0]])
    pose = look_at(CENTRE + np.array([x, 0.05, 0.5]), CENTRE, np.array([0.0, 1.0, 0.0]))
    distortion = np.array([-0.1, 0.02, 0.001, -0.001, 0.0])
    unit = 0.001 if kind == "depth" else None
    return Camera(camera_id, "m", kind, SIZE_HW, K, distortion, pose, depth_unit_m=unit, reprojection_px=0.31)


RIG = Rig((_camera("front", 0.0), _camera("side", 0.3), _camera("depth", -0.1, "depth")))


def _write_take(path: Path, take_id: str = "take-7", frames: int = FRAMES) -> Take:
    header = TakeHeader(
        take_id, "subject-3", take_id, take_id, "/recordings/7", "d1", "simulated", "0.1", "c1", take_id
    )
    plans = {camera.id: StreamPlan(frames) for camera in RIG.cameras}
    writer = TakeWriter.begin(path, header, RIG, plans, {take_id: take_id})
    assert writer is not None
    rng = np.random.default_rng(0)
    with writer:
        for camera in RIG.cameras:
            for shard in writer.pending_shards(camera.id):
                shape = SIZE_HW if camera.kind == "depth" else (*SIZE_HW, 3)
                low, high, kind = (480, 520, np.uint16) if camera.kind == "depth" else (0, 256, np.uint8)
                writer.write_shard(camera.id, shard, [rng.integers(low, high, shape).astype(kind) for _ in shard])
            writer.write_clock(camera.id, np.arange(frames, dtype=np.int64) * 33_333_333)
        index = np.tile(np.arange(frames, dtype=np.int32)[:, None], (1, 3))
        index[min(STRONGEST, frames - 1), 1] = -1
        writer.write_sync(Sync(np.arange(frames, dtype=np.int64) * 33_333_333, index))
        writer.finish()
    return Take.open(path)


def _write_fit(take: Take, label: str = "anny") -> None:
    frames = take.frame_count
    vertices, faces = _ball(0.1)
    heads = np.tile((vertices + CENTRE).astype(np.float32), (frames, 1, 1))
    curves = np.zeros((frames, len(CURVES)))
    curves[min(STRONGEST, frames - 1), :2] = 0.9
    curves[0, 2] = 1.0
    arrays = {
        "vertices": ResultArray(heads, ("frame", "vertex", "xyz"), "m"),
        "faces": ResultArray(faces, ("face", "corner")),
        "curves": ResultArray(curves, ("frame", "curve"), "1", {"curve": CURVES}),
        "rotation": ResultArray(np.tile(np.eye(3), (frames, 1, 1)), ("frame", "row", "column")),
        "translation": ResultArray(np.tile(CENTRE, (frames, 1)), ("frame", "xyz"), "m"),
        "face_region": ResultArray(vertices[:, 2] > 0, ("vertex",)),
        "depth_residual_m": ResultArray(np.full(frames, 0.0012), ("frame",), "m"),
        "views": ResultArray(np.full(frames, 2, np.int32), ("frame",)),
    }  # fmt: skip
    provenance = Provenance({"model": label, label: 1}, {label: "abc"}, {label: 1.0, "model": label}, label)
    take.results.write("fit", "default", arrays, provenance)


def _write_surface(take: Take, frame: int) -> None:
    vertices, faces = _ball(0.1 + BUMP_M)
    arrays = {
        "vertices": ResultArray((vertices + CENTRE).astype(np.float32), ("vertex", "xyz"), "m"),
        "faces": ResultArray(faces, ("face", "corner")),
        "colours": ResultArray(np.full(vertices.shape, 150, np.uint8), ("vertex", "rgb"), "sRGB"),
    }
    take.results.write("surface", f"{frame:06d}", arrays, Provenance({"voxel_size_m": 0.002}, {"take": take.digest}))


class Page(HTMLParser):
    """What a browser would make of the page, as far as these tests ask."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.unclosed: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input", "meta", "br"):
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self) -> list[str]:
        return [
            value or ""
            for _, attrs in self.tags
            for name, value in attrs.items()
            if name in ("src", "href", "xlink:href")
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Take, Page]:
    """The page of a take that has everything, under hostile names."""
    folder = tmp_path_factory.mktemp("report")
    take = _write_take(folder / "take.zarr", HOSTILE)
    _write_fit(take, HOSTILE)
    _write_surface(take, STRONGEST)
    quality = FoundQuality((_check("fail", 0, HOSTILE), *(_check("pass", number) for number in range(30))))
    write_report(take, folder / "page.html", quality, {"vertex_error_mm_median": 1.25, HOSTILE: float("nan")})
    return take, Page(folder / "page.html")


def test_the_page_needs_nothing_but_itself(whole: tuple[Take, Page]) -> None:
    page = whole[1]
    assert page.unclosed == []
    assert len(page.source) < 6_000_000
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses())
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style


def test_no_text_of_the_take_becomes_markup(whole: tuple[Take, Page]) -> None:
    page = whole[1]
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.text.count(HOSTILE) > 10
    assert "<script" not in page.source and "<img src=http" not in page.source


def test_every_picture_is_whole_and_what_was_asked_for(whole: tuple[Take, Page]) -> None:
    images = [attrs for tag, attrs in whole[1].tags if tag == "img"]
    for attrs in images:
        data = np.frombuffer(base64.b64decode((attrs["src"] or "").partition(",")[2]), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None and picture.std() > 1
        assert [str(side) for side in picture.shape[1::-1]] == [attrs["width"], attrs["height"]]
    words = [attrs["alt"] or "" for attrs in images]
    # The side camera has no frame in the frame set with the strongest expression.
    assert words[:3] == ["Picture of front", "Fitted mesh over front", "Depth of depth"]
    assert "No frame in frame set 4" in whole[1].text
    assert sum(word.startswith("Fitted head, frame") for word in words) == FRAMES
    assert {"From the right", "From the front", "From the left", "Fitted head"} <= set(words)


def test_figures_are_those_of_the_take(whole: tuple[Take, Page]) -> None:
    text = whole[1].text
    assert "1 of 31 checks failed" in text and "Fitted head 1.2 mm from the depth" in text
    assert "calibrated to 0.31 px" in text and "Vertex error, median" in text and "1.25 mm" in text
    assert f"Frame {STRONGEST}, 0.13 s: the strongest expression" in text
    assert re.search(r"(0\.9[5-9]\d?|1(\.0\d?)?) mmmedian distance", text)


def test_the_same_take_gives_the_same_bytes(whole: tuple[Take, Page], tmp_path: Path) -> None:
    write_report(whole[0], tmp_path / "first.html")
    write_report(Take.open(whole[0].path), tmp_path / "second.html")
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    take = _write_take(tmp_path / "take.zarr")
    write_report(take, tmp_path / "bare.html")
    bare = Page(tmp_path / "bare.html")
    assert f"mien fit {take.path}" in bare.text and f"mien check {take.path}" in bare.text
    assert "Accuracy against truth" not in bare.text
    assert [attrs["alt"] for tag, attrs in bare.tags if tag == "img"] == [
        "Picture of front", "Picture of side", "Depth of depth",
    ]  # fmt: skip
    _write_fit(take)
    write_report(take, tmp_path / "fitted.html")
    fitted = Page(tmp_path / "fitted.html")
    assert f"mien fuse {take.path}" in fitted.text and f"mien fit {take.path}" not in fitted.text


def test_one_frame_is_a_take_too(tmp_path: Path) -> None:
    take = _write_take(tmp_path / "take.zarr", frames=1)
    _write_fit(take)
    _write_surface(take, 0)
    write_report(take, tmp_path / "page.html")
    assert "One frame alone shows no motion." in Page(tmp_path / "page.html").text


def test_a_frame_that_is_not_there_is_refused(whole: tuple[Take, Page], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from 0 to 5"):
        write_report(whole[0], tmp_path / "page.html", frame=6)
    assert not (tmp_path / "page.html").exists()
    write_report(whole[0], tmp_path / "page.html", frame=2)
    assert "Frame 2, 0.07 s: the frame asked for" in Page(tmp_path / "page.html").text


def test_a_drawing_lies_on_the_picture() -> None:
    """Cut, scaled and drawn or drawn, cut and scaled: the mesh covers the same pixels, to a fraction of one."""
    vertices, faces = _ball(0.1)
    vertices += CENTRE
    for camera in RIG.cameras:
        pixels, depth = camera.project(vertices)
        native = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, SIZE_HW).mask
        for width in (50, 300):
            shot = Shot.of_points(camera, vertices, width)
            cut = shot.picture(np.repeat(np.where(native, 255, 0).astype(np.uint8)[..., None], 3, 2))[..., 0] / 255
            drawn = shot.drawing(vertices, faces).fragments.mask
            drawn = drawn.reshape(shot.size_hw[0], 2, shot.size_hw[1], 2).mean((1, 3))
            for axis in (0, 1):
                place = np.arange(cut.shape[axis])
                middles = [(image.sum(1 - axis) @ place) / image.sum() for image in (cut, drawn)]
                assert abs(middles[0] - middles[1]) / shot.scale < 0.1


def test_distances_are_signed_and_limited_to_the_face() -> None:
    vertices, faces = _ball(0.1)
    front = vertices[:, 2] > 0
    for shift_mm in (2.0, -2.0):
        far = np.array([[0.0, 0.0, 1.0]])
        surface = Mesh(np.concatenate([vertices * (1 + shift_mm / 100), far]), faces)
        distance = SurfaceDistance.between(surface, Mesh(vertices, faces), front)
        np.testing.assert_allclose(distance.face_mm, shift_mm, atol=0.05)
        assert np.isnan(distance.signed_mm[-1]) and not distance.on_face[-1]
        assert 0.3 < distance.on_face.mean() < 0.55
        assert distance.percentile_mm(50) == pytest.approx(2.0, abs=0.05)


def test_a_picture_keeps_to_its_share_of_the_page() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 240, 3), dtype=np.uint8)
    calm = np.full((300, 240, 3), 90, np.uint8)
    assert len(jpeg_uri(noise, 60_000)) < 60_100
    assert len(jpeg_uri(calm, 60_000)) < 4_000


@pytest.mark.parametrize(
    ("verdicts", "kind", "words"),
    [
        (("pass", "ok"), "good", "All 2 checks passed"),
        (("pass", "warn"), "warning", "2 checks, none failed, 1 with a warning"),
        (("FAIL", "warning"), "bad", "1 of 2 checks failed"),
        (("skipped", "pass"), "good", "2 checks, none failed"),
        ((), "neutral", "Not checked"),
    ],
)
def test_the_verdict_is_that_of_the_worst_check(verdicts: tuple[str, ...], kind: str, words: str) -> None:
    assert verdict_words(FoundQuality(tuple(map(_check, verdicts)))) == (kind, words)


def test_curves_have_readable_names_in_groups() -> None:
    assert readable("eyeBlinkLeft", "eye") == "Blink, left"
    assert readable("jawLeft") == "Jaw, left" and readable("mouthLeft", "mouth") == "Left"
    groups = grouped(CURVES)
    assert [heading for heading, _ in groups] == ["Brows", "Eyes", "Jaw and tongue", "Mouth", "Other"]
    assert sorted(column for _, members in groups for column, _ in members) == list(range(len(CURVES)))


def test_elements_escape_text_and_attributes() -> None:
    made = element("a", "<b>&", element("i", "x"), None, class_='"><b>', data_x=1, hidden=True, title=None)
    assert made.html == '<a class="&quot;&gt;&lt;b&gt;" data-x="1" hidden>&lt;b&gt;&amp;<i>x</i></a>'
