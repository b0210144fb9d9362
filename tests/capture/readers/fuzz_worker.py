"""A process that opens damaged recordings: whatever a reader does to it, the tests go on and know what happened."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import numpy as np

from geometry.cameras import Camera

MOST_BYTES = 1 << 30
"""What reading may take beyond what the imports took."""
MOST_SECONDS = 30.0
READ, REFUSED, CRASHED, HUNG, TOO_LARGE = "read", "refused", "crashed", "hung", "took over 1 GB"


@dataclass(frozen=True)
class Case:
    """One damaged file of a recording, and how it is to be read."""

    reader: str
    source: Path
    """The whole recording: a file or a folder."""
    file: str = ""
    """The damaged file, relative to the root; empty: the source is that file."""
    root: Path | None = None
    """A folder around the source that holds more of the recording; None: the source is all of it."""
    cut: int | None = None
    """Bytes that are left."""
    flips: tuple[tuple[int, int], ...] = ()
    """Places and what is added to the byte there, modulo 256."""
    inserts: tuple[tuple[int, bytes], ...] = ()
    """Places and bytes that overwrite what was there."""
    cameras: tuple[str, ...] | None = None
    """Whose frames to decode; None: all."""

    @property
    def base(self) -> Path:
        """All of the recording."""
        return self.root or self.source

    @property
    def damaged_file(self) -> Path:
        """Where the file lies undamaged."""
        return self.base / self.file if self.file else self.base


@dataclass(frozen=True)
class Summary:
    """A read, by digests."""

    counts: Mapping[str, int]
    """Frames by camera."""
    sizes: Mapping[str, tuple[int, int]]
    clocks: Mapping[str, str]
    pixels: Mapping[tuple[str, int], str]
    """Of frames that were decoded."""
    rig: str
    tracks: str
    """Of sound and inertial sensors."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What happened."""

    kind: str
    words: str = ""
    """Of the error."""
    summary: Summary | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    """Beyond the imports', in this and all cases before it."""


def damaged(data: bytes, case: Case) -> bytes:
    """The bytes that a case leaves."""
    changed = bytearray(data)
    for place, step in case.flips:
        changed[place % len(changed)] = (changed[place % len(changed)] + step) % 256
    for place, content in case.inserts:
        changed[place : place + len(content)] = content
    return bytes(changed if case.cut is None else changed[: case.cut])


def summarise(source: Path, case: Case) -> Summary:
    """Open by the reader and, where it is another way, by auto, and read every frame that the case asks for."""
    from capture.readers import open_recording

    recording = open_recording(source, case.reader)
    pixels = {}
    for camera in recording.rig.cameras:
        frames = range(len(recording.clocks[camera.id].device_ns))
        if case.cameras is not None and camera.id not in case.cameras:
            continue
        for index, frame in zip(frames, recording.frames(camera.id, frames), strict=True):
            if frame.shape[:2] != camera.image_size_hw:
                raise AssertionError(f"a frame of {frame.shape}, not {camera.image_size_hw}")
            pixels[camera.id, index] = hashlib.sha1(frame.tobytes()).hexdigest()
            if recording.read_jpeg is not None and index == 0:
                recording.read_jpeg(camera.id, index)
    for sound in recording.audio:
        sound.read(0, min(sound.sample_count, 4096))
    rig, clocks = recording.rig.cameras, recording.clocks
    return Summary(
        counts={name: len(clock.device_ns) for name, clock in clocks.items()},
        sizes={camera.id: camera.image_size_hw for camera in rig},
        clocks={name: _digest(clock.device_ns, clock.host_ns, clock.frame_counter) for name, clock in clocks.items()},
        pixels=pixels,
        rig=repr([_calibration(camera) for camera in rig]),
        tracks=_digest(
            *(part for track in recording.imu for part in (track.time_ns, track.values)),
            *(np.array([track.sample_count, track.channel_count]) for track in recording.audio),
        ),
        notes=recording.notes[1:],
    )


def _calibration(camera: Camera) -> list[object]:
    return [
        camera.id, camera.module, camera.kind, camera.K.tolist(), camera.distortion.tolist(),
        camera.world_from_camera.matrix.tolist(), camera.rate_hz, camera.depth_unit_m, camera.serial,
    ]  # fmt: skip


def _digest(*arrays: np.ndarray | None) -> str:
    digest = hashlib.sha1()
    for array in arrays:
        digest.update(b"none" if array is None else array.tobytes() + repr(array.shape).encode())
    return digest.hexdigest()


@dataclass
class _Copies:
    """Working copies of recordings, of which one file at a time is damaged."""

    folder: Path
    of: dict[Path, Path] = field(default_factory=dict)

    def path(self, source: Path) -> Path:
        if source not in self.of:
            target = self.folder / str(len(self.of)) / source.name
            target.parent.mkdir()
            shutil.copytree(source, target, copy_function=shutil.copyfile) if source.is_dir() else shutil.copyfile(
                source, target
            )
            for path in [target, *target.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
            self.of[source] = target
        return self.of[source]


def _work(connection: Connection, folder: Path) -> None:
    """Answer cases until the connection closes."""
    from capture.readers import READERS
    from geometry.errors import InputError

    warnings.simplefilter("ignore")
    for load in READERS.values():
        load()
    np.linalg.svd(np.eye(8))  # starts its threads, whose stacks are no reader's
    base = _status_bytes("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (base + MOST_BYTES + (256 << 20), base + MOST_BYTES + (256 << 20)))
    Path("/proc/self/clear_refs").write_text("5")
    base_peak = _status_bytes("VmHWM")
    copies = _Copies(folder)
    connection.send("ready")
    while True:
        try:
            case: Case = connection.recv()
        except EOFError:
            return
        root = copies.path(case.base)
        source = root / case.source.relative_to(case.base)
        file = root / case.file if case.file else root
        whole = case.damaged_file.read_bytes()
        file.write_bytes(damaged(whole, case))
        start = time.perf_counter()
        try:
            outcome = Outcome(READ, summary=summarise(source, case))
        except InputError as error:
            outcome = Outcome(REFUSED, str(error))
        except MemoryError as error:
            outcome = Outcome(TOO_LARGE, repr(error))
        except Exception as error:  # noqa: BLE001 - any other error is what the tests look for
            outcome = Outcome(CRASHED, f"{type(error).__name__}: {error}")
        peak = _status_bytes("VmHWM") - base_peak
        seconds = time.perf_counter() - start
        if file.is_file():
            file.write_bytes(whole)
        kind = TOO_LARGE if peak > MOST_BYTES else outcome.kind
        connection.send(Outcome(kind, outcome.words, outcome.summary, seconds, peak))


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


class Worker:
    """A process for cases, begun again after it died or hung."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: BaseProcess | None = None
        self.connection: Connection | None = None
        self.fresh = True

    def start(self) -> None:
        """Begin, if it is not running; returns before it is ready."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            own, other = context.Pipe()
            self.connection = cast(Connection, own)
            copies = Path(tempfile.mkdtemp(dir=self.folder))
            self.process = context.Process(target=_work, args=(other, copies), daemon=True)
            self.process.start()
            other.close()
            self.fresh = True

    def send(self, case: Case) -> None:
        """Hand over a case."""
        self.start()
        assert self.connection is not None
        if self.fresh:
            if not self.connection.poll(120):
                raise RuntimeError("a fuzzing process that does not start")
            self.connection.recv()
            self.fresh = False
        self.connection.send(case)

    def receive(self) -> Outcome:
        """What came of it; a process that dies or takes too long is an outcome too."""
        assert self.connection is not None and self.process is not None
        try:
            if self.connection.poll(MOST_SECONDS):
                return self.connection.recv()
            self.stop()
            return Outcome(HUNG, f"over {MOST_SECONDS} s")
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            self.stop()
            return Outcome(CRASHED, f"the process died with {code}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = self.connection = None


def outcomes(workers: Sequence[Worker], cases: Sequence[Case], each: Callable[[Case, Outcome], None]) -> None:
    """Give the cases to the workers in turn and hand each outcome on, in order."""
    waiting: list[tuple[Worker, Case]] = []
    for worker in workers:
        worker.start()
    for number, case in enumerate(cases):
        worker = workers[number % len(workers)]
        if len(waiting) == len(workers):
            busy, earlier = waiting.pop(0)
            each(earlier, busy.receive())
        worker.send(case)
        waiting.append((worker, case))
    for busy, earlier in waiting:
        each(earlier, busy.receive())
