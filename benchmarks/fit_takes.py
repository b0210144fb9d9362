"""The takes that the head fit is measured on: simulated people, seen by rigs that were calibrated from a waved board.

Nothing of a take comes from truth: the board is recorded with the same sensors as the person, `mien calibrate` makes
the rig of it, and `mien ingest --rig` puts that into the take, in a world of its own. People are drawn from raw
phenotypes and local changes, with shape that no linear basis holds and expression shapes of their own. Their light is
not what a fit with spherical harmonics can express: beside the harmonics it has a key light's highlight (GGX) on skin
whose gloss varies, wet eyes and lips, and shade where little of the surroundings is seen.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from capture.ingest import IngestConfig
from geometry.rigs import Rig
from storage.image_folder import FrameTable, RecordingCard
from storage.rig_json import read_rig, rig_to_json
from studio.calibration_board import PrintedBoard
from studio.calibration_wave import WaveConfig, record_board
from studio.recorder import SimulationConfig, simulate
from workflows.calibrating import CalibrationConfig, calibrate
from workflows.ingesting import ingest

REPORTED = tuple(int(seed) for seed in os.environ.get("MIEN_FIT_PEOPLE", "0 1 2 3 4 5").split())
"""Seeds of the people whose figures are reported. While tuning, name others, from 100 on, by MIEN_FIT_PEOPLE: what is
tuned on people is no longer a figure about them."""
FRAMES = 60
POSES = {"desk": 60, "vocap": 28}
"""Places of the board in each studio; drawing and calibrating vocap takes minutes as it is."""


@dataclass(frozen=True)
class TakeConfig:
    """Which take."""

    subject: int
    """Seed of person, light, clocks and every error of the sensors."""
    preset: str = "desk"
    """desk or vocap."""
    frames: int = FRAMES
    """Triggers; the whole script of expressions is played in them."""
    in_model: bool = False
    """The fitted model's own expression shapes and no shape off its basis; never the headline."""
    cameras: tuple[str, ...] = ()
    """Only these of the calibrated cameras; none named: all."""
    first: int = 0
    """Only so many frames of it, from the first on: the same pace of expressions; 0: all."""

    @property
    def whole(self) -> TakeConfig:
        """The take of which this is a part."""
        return replace(self, cameras=(), first=0)

    @property
    def name(self) -> str:
        """Of the take's folder."""
        parts = [self.preset, f"{self.subject:04d}", str(self.frames)]
        parts += ["in-model"] * self.in_model + [f"first-{self.first}"] * bool(self.first)
        return "-".join([*parts, *([f"{len(self.cameras)}-from-{self.cameras[0]}"] if self.cameras else [])])


def record(folder: Path, config: TakeConfig) -> Path:
    """The take of a configuration, recorded unless the folder holds it; its truth lies beside its recording."""
    take, note = folder / config.name / "take.zarr", folder / config.name / "made.json"
    wanted = json.dumps(asdict(config) | {"poses": POSES[config.preset]}, indent=1)
    if note.is_file() and note.read_text() == wanted and take.exists():
        return take
    if take.parent.exists():
        shutil.rmtree(take.parent)
    source = take.parent / "recording"
    if config.whole != config:
        whole = record(folder, config.whole).parent
        rig = read_rig(whole / "rig.json")
        rig = Rig(tuple(rig[name] for name in config.cameras or rig.ids))
        _part_of(whole / "recording", source, rig.ids, config.first or config.frames)
    else:
        started = time.perf_counter()
        rig = calibrated_rig(folder, config.preset, config.subject)
        off_basis = 0.0 if config.in_model else 0.3
        plan = SimulationConfig(config.preset, config.frames, config.subject, "kinect", "usual", off_basis=off_basis)
        simulate(source, replace(plan, people="all"))
        print(f"    {config.name}: recorded in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    (take.parent / "rig.json").write_text(json.dumps(rig_to_json(rig), indent=1))
    ingest(source, take, IngestConfig(rig=take.parent / "rig.json"))
    note.write_text(wanted)
    return take


def calibrated_rig(folder: Path, preset: str, seed: int) -> Rig:
    """The rig as `mien calibrate` finds it from a waved board, seen by the sensors that record this seed's person.

    In a world made from how the cameras stand, and without the infrared pictures, which no person is recorded with.
    """
    place = folder / f"{preset}-{seed:04d}-rig.json"
    if not place.is_file():
        board, wave = PrintedBoard(), folder / f"{preset}-{seed:04d}-wave"
        record_board(wave, WaveConfig(preset, POSES[preset], seed, sensors="person"), board)
        calibrate(wave, place, CalibrationConfig(board.spec))
        shutil.rmtree(wave)
    return Rig(tuple(camera for camera in read_rig(place).cameras if camera.kind != "infrared"))


def fresh_copy(take: Path, target: Path) -> Path:
    """The take without any result, to fit as if it had just been ingested."""
    results = take / "results"

    def steps(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if (results / name).is_dir()] if Path(folder) == results else []

    shutil.copytree(take, target, ignore=steps)
    return target


def _part_of(source: Path, target: Path, cameras: tuple[str, ...], frames: int) -> None:
    """A recording of some cameras' first frames of another one: the same files, which take no room, and their truth."""
    for name in cameras:
        table = FrameTable.read(source / name)
        # Frames arrive in the order of their triggers, so that what is kept is the head of the table.
        count = sum(int(Path(file).stem) < frames for file in table.files)
        (target / name).mkdir(parents=True)
        for file in sorted(set(table.files[:count])):
            os.link(source / name / file, target / name / file)
        clocks = (table.device_ns, table.host_ns, table.frame_counter, table.trigger_id, table.timecode_ns)
        heads = (None if clock is None else clock[:count] for clock in clocks)
        FrameTable(table.files[:count], *heads).write(target / name)  # type: ignore[arg-type]
    (target / "truth").mkdir()
    for name in ("subject.npz", "rig.json", "synchrony.json"):
        os.link(source / "truth" / name, target / "truth" / name)
    rig = Rig(tuple(read_rig(source / "rig.json")[name] for name in cameras))
    (target / "rig.json").write_text(json.dumps(rig_to_json(rig), indent=1))
    replace(RecordingCard.read(source), cameras=cameras).write(target)
