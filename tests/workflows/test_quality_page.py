"""The page of a check says first whether the take is usable, names every finding, and needs nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from capture.ingest import IngestConfig
from capture.quality import Check, QualityReport, TimeCourse, check_take
from storage.take import Take
from tests.capture.synthetic_recording import plain_script, synthetic_rig, write_recording
from workflows.ingesting import ingest
from workflows.quality_charts import course_chart, spark_line
from workflows.quality_page import thumbnail, write_quality_page
from workflows.quality_words import TITLES, figure, findings, headline, title, verdict_of, who

HOSTILE = "<script>alert('x')</script>&"


class _Reader(HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    return reader


def _check(verdict: str, name: str = "dropped_frames", camera: str | None = "left_rgb", value: float = 0.07) -> Check:
    remedy = "use a faster disk" if verdict in ("warn", "fail") else ""
    message = "expected at most 5 %; got 7 %" + (f"; {remedy}" if remedy else "")
    return Check(name, camera, value, "share", 0.05, verdict, message, remedy)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    folder = write_recording(tmp_path_factory.mktemp("page") / "recording", plain_script(14))
    return ingest(folder, folder.parent / "take", IngestConfig())


def test_a_good_take_is_called_usable_and_the_page_needs_nothing_else(take: Take, tmp_path: Path) -> None:
    report = check_take(take)
    write_quality_page(take, report, tmp_path / "page.html")
    page = _read(tmp_path / "page.html")
    assert "Usable" in page.text and "Shoot again" not in page.text
    for camera_id in take.rig.ids:
        assert camera_id in page.text
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "action") and value]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "script" not in page.tags and "link" not in page.tags and "url(" not in (tmp_path / "page.html").read_text()
    assert page.tags.count("img") == 2 * len(take.rig.cameras)
    for name in {check.name for check in report.checks}:
        assert title(name) in page.text


def test_the_same_take_and_report_give_the_same_bytes(take: Take, tmp_path: Path) -> None:
    report = check_take(take)
    for name in ("a.html", "b.html"):
        write_quality_page(take, report, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_every_finding_stands_there_with_number_threshold_and_what_to_do(take: Take, tmp_path: Path) -> None:
    checks = (_check("fail"), _check("warn", "exposure_flicker", "right_rgb", 0.06), _check("pass"), _check("unknown"))
    write_quality_page(take, QualityReport(checks), tmp_path / "page.html")
    text = _read(tmp_path / "page.html").text
    assert "Shoot again: lost frames (left_rgb)" in text
    for words in ("7 %", "6 %", "threshold 5 %", "Use a faster disk", "Lost frames: left_rgb", "Flicker: right_rgb"):
        assert words in text
    assert "1 not judged" in text


def test_text_from_the_take_stays_text(take: Take, tmp_path: Path) -> None:
    hostile = replace(take, header=replace(take.header, take_id=HOSTILE, slate=HOSTILE))
    report = QualityReport((replace(_check("fail"), message=HOSTILE, remedy=HOSTILE, name=HOSTILE),))
    write_quality_page(hostile, report, tmp_path / "page.html")
    page = _read(tmp_path / "page.html")
    assert "script" not in page.tags and HOSTILE in page.text


def test_a_damaged_take_has_a_page_too(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "recording", plain_script(4))
    take = ingest(folder, tmp_path / "take", IngestConfig())
    shard = sorted((tmp_path / "take" / "streams" / "left_rgb" / "frames" / "c").rglob("*"))[-1]
    shard.write_bytes(shard.read_bytes()[:-40])
    (tmp_path / "take" / "sync" / "time_ns" / "zarr.json").unlink()
    take = Take.open(tmp_path / "take")
    write_quality_page(take, check_take(take), tmp_path / "page.html")
    text = _read(tmp_path / "page.html").text
    assert "Shoot again: damaged files" in text and "left_rgb" in text


def test_every_check_has_a_title_and_stands_in_the_docs() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    told = (root / "docs" / "quality.md").read_text()
    assert [name for name in TITLES if f"`{name}`" not in told] == []
    code = "".join(path.read_text() for path in (root / "capture" / "quality").glob("*.py"))
    made = set(re.findall(r'(?:Check|Judged|not_judged)\(\s*"(\w+)"|name="(\w+)"', code))
    assert {first or second for first, second in made} <= set(TITLES)


def test_findings_of_many_cameras_are_one_with_the_worst_first() -> None:
    report = QualityReport(tuple(_check("warn", camera=f"c{k}", value=0.06 + 0.001 * k) for k in range(93)))
    (found,) = findings(report, ("fail", "warn"))
    assert len(found.checks) == 93 and found.worst.camera == "c92" and found.title == "Lost frames"
    assert who(found.cameras) == "c92, c91, c90 and 90 more" and who(()) == "the take"


def test_headlines() -> None:
    assert headline(QualityReport((_check("pass"), _check("unknown")))) == ("good", "Usable")
    assert headline(QualityReport((_check("warn", camera=None),))) == ("warning", "Usable, but look at: lost frames")
    many = QualityReport(tuple(_check("fail", f"check_{k}") for k in range(7)))
    assert headline(many)[0] == "bad" and headline(many)[1].endswith(", and 3 more")
    assert verdict_of([_check("unknown"), _check("warn")]) == "warn"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0512, "share", "5.12 %"), (0.00312, "m", "3.12 mm"), (0.62, "m", "0.62 m"), (None, "px", "–"),
        (1.0, "1", "yes"), (0.0, "1", "no"), (12345.0, "ppm", "12,345 ppm"), (0.00001, "share", "0 %"),
    ],
)  # fmt: skip
def test_figures_are_read_at_a_glance(value: float | None, unit: str, text: str) -> None:
    assert figure(value, unit) == text


def test_a_long_course_keeps_its_single_worst_frame_and_its_gaps() -> None:
    value = np.zeros(9000)
    value[4321], value[6000:7000] = 7.5, np.nan
    course = TimeCourse("sync residual", np.arange(9000) / 30, value, "ms")
    html = course_chart({"a": course, "b": course}, {"a": "text-fail"}).html
    lines = re.findall(r'points="([^"]+)"', html)
    assert len(lines) == 4 and max(len(line.split()) for line in lines) < 400
    heights = [float(point.split(",")[1]) for line in lines for point in line.split()]
    assert min(heights) < 60 and max(heights) <= 200
    assert 'class="text-fail">a<' in html and "1 more camera<" in html
    assert spark_line(course, "text-pass").html.count("polyline") == 4


@pytest.mark.parametrize("kind", ["rgb", "depth", "infrared", "light_field"])
def test_every_kind_of_frame_has_a_thumbnail(kind: str) -> None:
    camera = replace(synthetic_rig()["left_rgb"], kind=kind, depth_unit_m=1e-3 if kind == "depth" else None)
    shape = (*camera.image_size_hw, 3) if kind == "rgb" else camera.image_size_hw
    dtype = np.uint8 if kind == "rgb" else np.uint16
    frame = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    for picture in (frame, np.zeros_like(frame)):
        small = thumbnail(picture, camera)
        assert small.shape == (165, 220, 3) and small.dtype == np.uint8
