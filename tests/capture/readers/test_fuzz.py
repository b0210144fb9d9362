"""Every reader against damaged files: a clear error or a right read, never a crash, a hang or more than 1 GB.

How a read of a damaged file is judged. What a format protects by checksums (a PNG's chunks, a Kinect's clusters and
tags) must be refused or come out as it was. What it does not protect may differ, because nothing in the file tells:
CHANGEABLE says what, for each kind of file. Everywhere the cameras, the number of frames and their sizes must hold up,
or the read must be refused, or its notes must say what is missing: a short take is never silent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.readers import READERS, open_recording
from geometry.errors import InputError
from tests.capture.readers.fuzz_worker import CRASHED, READ, REFUSED, Case, Outcome, Summary, Worker, outcomes
from tests.capture.readers.small_recordings import SMALL, write_portrait
from tests.capture.readers.test_truedepth_board import write_board_folder

EVERY_BYTES = 1 << 16
FLIPS = 200
EVERYTHING = frozenset({"pixels", "clocks", "rig", "tracks", "notes"})
CHANGEABLE: dict[tuple[str, str], frozenset[str]] = {
    # Calibration and track headers have no checksum; clusters (pictures, times, inertial samples) and tags do.
    ("kinect_mkv", ".mkv"): frozenset({"rig", "notes"}),
    # Every chunk of a PNG has one.
    ("truedepth_board", ".png"): frozenset(),
    ("truedepth_board", ".json"): frozenset({"rig", "notes"}),
    ("truedepth_board", ".txt"): frozenset({"tracks", "notes"}),
    # Entropy-coded pixels, XMP and EXIF have none.
    ("truedepth", ".heic"): EVERYTHING,
    ("truedepth", ".jpg"): EVERYTHING,
}
"""What no checksum covers, by reader and kind of file."""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    folder = tmp_path_factory.mktemp("fuzz")
    pool = [Worker(folder) for _ in range(2)]
    for worker in pool:
        worker.start()
    yield pool
    for worker in pool:
        worker.stop()


def _differences(found: Summary, whole: Summary) -> set[str]:
    """In what a read differs from that of the undamaged file."""
    differences = {
        name for name in ("sizes", "counts", "rig", "tracks", "notes") if getattr(found, name) != getattr(whole, name)
    }
    if any(whole.clocks.get(name) != clock for name, clock in found.clocks.items()):
        differences.add("clocks")
    if any(whole.pixels.get(frame, digest) != digest for frame, digest in found.pixels.items()):
        differences.add("pixels")
    return differences


def _fault(outcome: Outcome, whole: Summary, changeable: frozenset[str]) -> str:
    """What is wrong with an outcome; empty if nothing is."""
    if outcome.kind == REFUSED:
        return ""
    if outcome.kind != READ or outcome.summary is None:
        return f"{outcome.kind}: {outcome.words[:300]}"
    differences = _differences(outcome.summary, whole)
    short = sum(outcome.summary.counts.values()) < sum(whole.counts.values())
    if short and set(outcome.summary.notes) <= set(whole.notes):
        return f"a silent short take: {dict(outcome.summary.counts)}"
    allowed = changeable | ({"counts", "sizes", "notes", "rig"} if short and "notes" in changeable else frozenset())
    wrong = differences - allowed
    return f"another read than of the whole file: {', '.join(sorted(wrong))}" if wrong else ""


def _whole(workers: Sequence[Worker], case: Case) -> Summary:
    found: list[Outcome] = []
    outcomes(workers[:1], [replace(case, cut=None, flips=(), inserts=())], lambda _, outcome: found.append(outcome))
    assert found[0].summary is not None, found[0].words
    return found[0].summary


def _run(workers: Sequence[Worker], cases: Sequence[Case], changeable: frozenset[str]) -> dict[str, int]:
    """All cases of one file; fails with every fault, else counts the kinds of outcome."""
    wholes: dict[tuple[str, ...] | None, Summary] = {}
    for case in cases:
        if case.cameras not in wholes:
            wholes[case.cameras] = _whole(workers, case)
    faults: list[str] = []
    kinds: dict[str, int] = {}

    def judge(case: Case, outcome: Outcome) -> None:
        kinds[outcome.kind] = kinds.get(outcome.kind, 0) + 1
        if case.cut is not None and outcome.kind == READ and not case.flips:
            kinds["read though cut"] = kinds.get("read though cut", 0) + 1
        fault = _fault(outcome, wholes[case.cameras], changeable)
        if fault:
            faults.append(f"{case.file or case.source.name} cut {case.cut} flips {case.flips}: {fault}")

    outcomes(workers, cases, judge)
    assert not faults, "\n".join([f"{len(faults)} of {len(cases)}", *faults[:20]])
    return kinds


def _flips(size: int, seed: int, count: int = FLIPS) -> list[tuple[tuple[int, int], ...]]:
    random = np.random.default_rng(seed)
    places, steps = random.integers(0, size, count), random.integers(1, 256, count)
    return [((int(place), int(step)),) for place, step in zip(places, steps, strict=True)]


def _cuts(size: int) -> range:
    return range(EVERY_BYTES, size, EVERY_BYTES)


class TestRealFiles:
    """Cut at every 64 KiB, and 200 flips each."""

    def test_kinect(self, workers: list[Worker], real_data: Path) -> None:
        source = real_data / "rgbd" / "azure_kinect" / "recording.mkv"
        plain, size = Case("kinect_mkv", source), source.stat().st_size
        cut = _run(workers, [replace(plain, cut=end) for end in (1, 100, *_cuts(size), size - 1)], frozenset())
        assert set(cut) == {REFUSED}
        kinds = _run(
            workers, [replace(plain, flips=flips) for flips in _flips(size, 1)], CHANGEABLE["kinect_mkv", ".mkv"]
        )
        assert kinds[REFUSED] > 0.95 * FLIPS

    def test_kinect_headers(self, workers: list[Worker], real_data: Path) -> None:
        source = real_data / "rgbd" / "azure_kinect" / "recording.mkv"
        plain = Case("kinect_mkv", source)
        headers = [replace(plain, flips=flips) for flips in _flips(7600, 2)]  # where 200 flips of the file hardly hit
        _run(workers, headers, CHANGEABLE["kinect_mkv", ".mkv"])

    @pytest.mark.parametrize("name", ["jpeg_depth_data.jpg", "heic_face_data.heic", "heic_depth_data.heic"])
    def test_portraits(self, workers: list[Worker], real_data: Path, name: str) -> None:
        source = real_data / "rgbd" / "truedepth_portraits" / name
        plain, size = Case("truedepth", source, cameras=("portrait_depth",)), source.stat().st_size
        assert set(_run(workers, [replace(plain, cut=end) for end in _cuts(size)], frozenset())) == {REFUSED}
        cases = [replace(plain, flips=flips) for flips in _flips(size, 3)]
        # 7 megapixels of HEVC take half a second: their colour is decoded for every fiftieth flip here, and for
        # 60 more in the slow test.
        cases[::50] = [replace(case, cameras=None) for case in cases[::50]]
        _run(workers, cases, CHANGEABLE["truedepth", source.suffix])

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["jpeg_depth_data.jpg", "heic_face_data.heic", "heic_depth_data.heic"])
    def test_portraits_in_full(self, workers: list[Worker], real_data: Path, name: str) -> None:
        source = real_data / "rgbd" / "truedepth_portraits" / name
        cases = [Case("truedepth", source, flips=flips) for flips in _flips(source.stat().st_size, 4, 60)]
        _run(workers, cases, CHANGEABLE["truedepth", source.suffix])

    @pytest.mark.parametrize("device", ["iPhone11Pro_iOS14", "iPadPro12_4gen_iOS15", "iPadPro12_5gen_iOS15"])
    def test_truedepth_boards(self, workers: list[Worker], real_data: Path, device: str) -> None:
        source = real_data / "rgbd" / "truedepth_charuco" / "DepthEvalDataset" / device
        small = _one_frame_of(source, workers[0].folder / f"{device}_one")
        for number, path in enumerate(sorted(path for path in source.iterdir() if path.is_file())):
            case = Case("truedepth_board", source, path.name, cameras=())
            if path.suffix == ".png":
                # The reader looks at each picture alone: a folder of one frame is as good and ten times as quick.
                shutil.copyfile(path, small / f"{path.stem.partition('_')[0]}_1000.png")
                case = replace(case, source=small, file=f"{path.stem.partition('_')[0]}_1000.png")
                case = replace(case, cameras=(path.stem.partition("_")[0],))
            size = path.stat().st_size
            cuts = [replace(case, cut=end) for end in _cuts(size)]
            assert not cuts or set(_run(workers, cuts, frozenset())) == {REFUSED}
            flips = [replace(case, flips=flips) for flips in _flips(size, number)]
            changeable = CHANGEABLE["truedepth_board", path.suffix]
            kinds = _run(workers, flips, changeable)
            assert changeable or set(kinds) == {REFUSED}


def _one_frame_of(source: Path, target: Path) -> Path:
    """The device's folder with a single frame, at 1000 ms."""
    import json

    target.mkdir()
    for name in ("CameraMetadata.json", "DepthMetadata.json"):
        entry = json.loads((source / name).read_text())[0]
        (target / name).write_text(json.dumps([{**entry, "Timestamp": 1000}]))
    for kind in ("rgb", "depth"):
        shutil.copyfile(sorted(source.glob(f"{kind}_*.png"))[0], target / f"{kind}_1000.png")
    return target


def test_every_reader_has_a_small_recording_to_be_fuzzed_with() -> None:
    assert {reader for reader, _ in SMALL.values()} == set(READERS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """The undamaged case of a small recording, written once."""
    folder, written = tmp_path_factory.mktemp("small"), dict[str, Case]()

    def make(name: str) -> Case:
        if name not in written:
            reader, write = SMALL[name]
            root = folder / name.replace(", ", "_").replace(" ", "_") / "recording"
            source = write(root)
            written[name] = Case(reader, source, root=root if source != root and root in source.parents[1:] else None)
        return written[name]

    return make


def _files(case: Case) -> list[str]:
    """The files of a recording that can be damaged, relative to it; the first and last of those that are alike."""
    if case.base.is_file():
        return [""]
    names = sorted(path.relative_to(case.base).as_posix() for path in case.base.rglob("*") if path.is_file())
    by_kind: dict[tuple[str, str], list[str]] = {}
    for name in names:
        path = Path(name)
        by_kind.setdefault(
            (path.parent.as_posix() if path.suffix in (".csv", ".json") else "", path.suffix), []
        ).append(name)
    return [name for alike in by_kind.values() for name in dict.fromkeys((alike[0], alike[-1]))]


def _changeable(case: Case) -> frozenset[str]:
    path = case.damaged_file
    default = frozenset() if path.suffix == ".png" else EVERYTHING
    return CHANGEABLE.get((case.reader, path.suffix), default)


@pytest.mark.parametrize("name", list(SMALL))
def test_small_recordings_cut_and_flipped(workers: list[Worker], small: Callable[[str], Case], name: str) -> None:
    plain = small(name)
    if name == "kinect_mkv, no checksums":
        changeable = EVERYTHING
    elif name == "truedepth":
        plain, changeable = replace(plain, cameras=("portrait_depth",)), EVERYTHING
    else:
        changeable = None
    files = _files(plain)
    for number, file in enumerate(files):
        case = replace(plain, file=file)
        size = case.damaged_file.stat().st_size
        cuts = [
            replace(case, cut=end)
            for end in sorted({0, 1, size // 3, size // 2, size - 1, *_cuts(size)[:12]})
            if end < size
        ]
        flips = [replace(case, flips=flips) for flips in _flips(size, number, max(4, 40 // len(files)))]
        _run(workers, [*cuts, *flips], _changeable(case) if changeable is None else changeable)


@st.composite
def _damage(draw: st.DrawFn) -> tuple[tuple[float, int], tuple[tuple[float, bytes], ...], float | None]:
    """Places as parts of a file: a flip, some runs of bytes that mean something in headers, and a cut."""
    place = st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0, 0.02))
    run = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from(
            [b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\x01" + b"\xff" * 7, b"1e99", b"-1", b"NaN", b"../../"]
        ),
    )
    flip = draw(st.tuples(place, st.integers(1, 255)))
    runs = draw(st.lists(st.tuples(place, run), max_size=3).map(tuple))
    return flip, runs, draw(st.none() | st.floats(0, 1))


@pytest.mark.parametrize("name", list(SMALL))
def test_small_recordings_damaged_in_several_places(
    workers: list[Worker], small: Callable[[str], Case], name: str
) -> None:
    plain = small(name)
    plain = replace(plain, cameras=("portrait_depth",)) if name == "truedepth" else plain
    files = _files(plain)

    @settings(
        max_examples=12, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.integers(0, len(files) - 1), _damage())
    def never_worse_than_an_error(number: int, damage: tuple) -> None:
        (place, step), runs, end = damage
        case = replace(plain, file=files[number])
        size = case.damaged_file.stat().st_size
        case = replace(
            case,
            flips=((int(place * size), step),),
            inserts=tuple((int(start * size), run) for start, run in runs),
            cut=None if end is None else int(end * size),
        )
        found: list[Outcome] = []
        outcomes(workers[:1], [case], lambda _, outcome: found.append(outcome))
        assert found[0].kind in (READ, REFUSED), f"{case}: {found[0].kind} {found[0].words}"

    never_worse_than_an_error()


@pytest.mark.parametrize("name", list(READERS))
def test_links_in_a_circle_and_pipes_neither_hang_nor_crash(tmp_path: Path, name: str) -> None:
    reader = READERS[name]()
    folder = tmp_path / "circle"
    folder.mkdir()
    (folder / "inner").symlink_to(folder, target_is_directory=True)
    for suffix in ("mkv", "bag", "mp4", "png", "jpg"):
        (folder / f"a.{suffix}").symlink_to(folder / f"b.{suffix}")
        (folder / f"b.{suffix}").symlink_to(folder / f"a.{suffix}")
        os.mkfifo(folder / f"pipe.{suffix}")
    for source in (folder, *folder.glob("*.*")):
        assert reader.recognises(source) is None
        with pytest.raises(InputError):
            reader.read(source)


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("image_folder", "left_rgb/frames.csv", "000000.jpg", "../../secret.jpg"),
        ("image_folder", "recording.json", "left_rgb", "../left_rgb"),
        ("layout", "layout.yaml", "{module}", "../{module}"),
        ("layout", "layout.yaml", "times_", "../times_"),
    ],
)
def test_manifests_whose_paths_leave_their_folder_are_refused(
    tmp_path: Path, name: str, file: str, old: str, new: str
) -> None:
    reader, write = SMALL[name]
    source = write(tmp_path / "recording")
    shutil.copytree(source, tmp_path / "copy")  # so that what they point to may well exist
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    text = (source / file).read_text()
    assert old in text
    (source / file).write_text(text.replace(old, new))
    with pytest.raises(InputError):
        READERS[reader]().read(source)


LAUGHS = "".join(f"<!ENTITY l{k} '{f'&l{k - 1};' * 10}'>" for k in range(1, 12))


@pytest.mark.parametrize(
    "bomb",
    [
        f"<!DOCTYPE x [<!ENTITY l0 'ha'>{LAUGHS}]>",
        "<!DOCTYPE x [<!ENTITY l0 SYSTEM 'file:///etc/passwd'>]>",
        f"<{'a' * 100}>" * 200,
    ],
)
def test_xml_bombs_in_a_portrait_are_refused(tmp_path: Path, bomb: str) -> None:
    source = write_portrait(tmp_path / "portrait")
    data = source.read_bytes()
    start = data.index(b"<x:xmpmeta", data.index(b"depthData/1.0/") - 3000)
    end = data.index(b"</x:xmpmeta>", start)
    packet = (b"<x:xmpmeta>" + bomb.encode() + b"<a xmlns:d='http://ns.apple.com/depthData/1.0/'>&l9;</a>")[
        : end - start
    ]
    source.write_bytes(data[:start] + packet.ljust(end - start) + data[end:])
    with pytest.raises(InputError):
        open_recording(source)


YAML_BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 40))


@pytest.mark.parametrize("bomb", [YAML_BOMB, "[" * 100_000, "a: !!python/object/apply:os.system ['true']\n"])
@pytest.mark.parametrize(("name", "file"), [("layout", "layout.yaml"), ("easymocap", "intri.yml")])
def test_yaml_bombs_are_refused(tmp_path: Path, name: str, file: str, bomb: str) -> None:
    reader, write = SMALL[name]
    source = write(tmp_path / "recording")
    (source / file).write_text(bomb)
    with pytest.raises(InputError, match=file.replace(".", r"\.")):
        READERS[reader]().read(source)


def test_a_png_that_declares_an_absurd_size_is_refused(workers: list[Worker], tmp_path: Path) -> None:
    import struct
    import zlib

    source = write_board_folder(tmp_path / "device")
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + header
    data = (source / "rgb_1000.png").read_bytes()
    start = data.index(b"IHDR")
    replaced = data[:start] + chunk + zlib.crc32(chunk).to_bytes(4) + data[start + 21 :]
    case = Case("truedepth_board", source, "rgb_1000.png", inserts=((0, replaced[: start + 21]),), cameras=("rgb",))
    found: list[Outcome] = []
    outcomes(workers[:1], [case], lambda _, outcome: found.append(outcome))
    assert found[0].kind == REFUSED and "rgb_1000.png" in found[0].words and found[0].peak_bytes < 2**30


def test_a_worker_tells_what_happened(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    found: list[Outcome] = []
    outcomes([worker], [Case("kinect_mkv", tmp_path / "absent.mkv")], lambda _, outcome: found.append(outcome))
    worker.stop()
    assert found[0].kind == CRASHED  # the case's own file is missing: a fault of the test is none of a reader's
