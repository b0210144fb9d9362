"""Record a simulated take: what a recorder writes, and apart from it the truth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head_model
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import face_normals
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from rendering.arrays import FragmentArrays, rasterize_arrays
from rendering.screen import screen_window
from storage.image_folder import MARKER, FrameTable, RecordingCard, SoundCard, write_whole
from storage.rig_json import rig_to_json
from studio.appearance import Appearance, paint_appearance
from studio.clocks import ClockReading, ClockTruth, read_clock, simulate_clocks
from studio.people import PEOPLE, choose_person
from studio.performance import Performance, perform, stand_still
from studio.presets import FACE_CENTRE, PRESETS, calibrated
from studio.sensors import SensorNoise, draw_sensor_noise, sense_colour, sense_depth
from studio.shading import TexturedMesh, shade
from studio.sound_files import SOUNDS, write_sounds
from studio.subject import Subject, draw_subject, scanned_subject

SUPERSAMPLE = 2
MARGIN_PX = 12
BACKDROP = 0.035
"""Linear radiance of the dark curtain, which returns no infrared light."""
NOISES, FAULTS = ("none", "kinect"), ("none", "usual", "studio")


@dataclass(frozen=True)
class SimulationConfig:
    """What to record."""

    preset: str = "desk"
    """desk (4 modules) or vocap (31 modules, the shape of HEADSET's studio)."""
    frames: int = 30
    """Triggers to record."""
    subject: int = 0
    """Seed of the person, the light, the rig's errors and the noise."""
    noise: str = "kinect"
    """none, or kinect: depth and colour noise, and a calibration that is slightly off."""
    faults: str = "none"
    """none; usual: dropped and doubled frames, a camera that starts late; or studio: the worst clocks, and triggers."""
    scan: Path | None = None
    """A real scan to record instead of a drawn subject (y up, facing +z)."""
    unit: str = "mm"
    """Unit of the scan: mm, cm or m."""
    off_basis: float = 0.3
    """Shape outside the fitted model's space, mm RMS over the face; 0 for exact tests."""
    rate: float = 30.0
    """Frames a second."""
    sound: str = "none"
    """none, ltc (timecode on a track of each device) or clap (a room with a voice and claps); of faults studio."""
    people: str = "adults"
    """adults, or all: six subjects running are of all ages, both sexes and all skin types."""

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("--preset", self.preset, tuple(PRESETS)),
            ("--noise", self.noise, NOISES),
            ("--faults", self.faults, FAULTS),
            ("--sound", self.sound, SOUNDS if self.faults == "studio" else SOUNDS[:1]),
            ("--people", self.people, PEOPLE),
        ):
            if value not in allowed:
                raise InputError(f"{name} {' or '.join(allowed)}", repr(value), "choose one of these")
        for name, value, low in (
            ("--frames", self.frames, 1),
            ("--rate", self.rate, 1),
            ("--off-basis", self.off_basis, 0),
        ):
            if not value >= low:
                raise InputError(f"{name} of at least {low}", str(value), "raise it")


@dataclass(frozen=True, eq=False)
class Stage:
    """Everything that stays the same over a simulated recording."""

    config: SimulationConfig
    """What was asked for."""
    model: HeadModel
    """Regions and landmarks of the drawn subject's topology."""
    subject: Subject
    """Who."""
    appearance: Appearance
    """Skin and light."""
    performance: Performance
    """What they do."""
    rig: Rig
    """The cameras as they really stand."""
    sensors: tuple[SensorNoise, ...]
    """Errors of each camera, in the rig's order."""
    face_mask: np.ndarray
    """Triangles of the face region; all of them for a scan."""

    def vertices_world(self, frame: int) -> Float[np.ndarray, "v 3"]:
        """The subject at a trigger, metres."""
        move = RigidTransform.from_rotvec(self.performance.rotvec[frame], self.performance.translation[frame])
        return move @ self.subject.vertices(self.performance.curves[frame])


def simulate(
    out: Path, config: SimulationConfig, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
) -> bool:
    """Record into a folder; False when the same recording is there already.

    A killed simulation of the same configuration continues where it stopped. Raises InputError when something else
    stands in the way.
    """
    wanted = _note(config)
    note = out / "simulation.json"
    if out.exists() and any(out.iterdir()):
        same = note.exists() and note.read_text() == wanted
        if same and (out / MARKER).exists():
            return False
        if not same and not overwrite:
            raise InputError(
                "an empty place for the recording", f"{out}, which holds something else", "use --overwrite"
            )
        if not same:
            if not note.exists():
                raise InputError(
                    "a recording to overwrite", f"{out}, which mien did not record", "choose another folder"
                )
            shutil.rmtree(out)
    write_whole(note, wanted)
    stage = _set_stage(config)
    clocks, truth = _clocks(config, stage.rig)
    triggers = tuple(truth.triggers[name] for name in stage.rig.ids)
    times_s = np.arange(config.frames) / config.rate
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        for frame in range(config.frames):
            list(pool.map(lambda number, frame=frame: _shoot(out, stage, frame, number), range(len(stage.rig.cameras))))
            if progress:
                progress(frame + 1, config.frames)
    _write_tables(out, stage, clocks, triggers)
    _write_truth(out / "truth", stage, triggers, times_s)
    reported = stage.rig if config.noise == "none" else calibrated(stage.rig, config.subject)
    write_whole(out / "rig.json", json.dumps(rig_to_json(reported), indent=1))
    licence = "simulated subject, CC0-1.0" if config.scan is None else "as the scan's own licence says"
    subject_id = f"sim-{config.subject:04d}" if config.scan is None else f"scan-{config.scan.stem}"
    sounds = tuple(SoundCard(*names) for names in write_sounds(out, stage.rig, truth, _sound_of(config)))
    RecordingCard(subject_id, licence, "simulated", stage.rig.ids, sounds).write(out)
    return True


def _note(config: SimulationConfig) -> str:
    """What makes a recording this one and no other; options that came later are left out where they say nothing."""
    values = {**asdict(config), "scan": _scan_digest(config)}
    for name, silent in (("sound", "none"), ("people", "adults")):
        if values[name] == silent:
            del values[name]
    return json.dumps(values, indent=1, default=str)


def _sound_of(config: SimulationConfig) -> tuple[str, float, int]:
    return config.sound, config.frames / config.rate, config.subject


def _scan_digest(config: SimulationConfig) -> str | None:
    """A changed scan is another recording, whatever its name."""
    if config.scan is None:
        return None
    if not config.scan.is_file():
        raise InputError("a scan file", f"{config.scan}, which is not there", "check --scan")
    return f"{config.scan.name} sha256:{hashlib.sha256(config.scan.read_bytes()).hexdigest()}"


def _set_stage(config: SimulationConfig) -> Stage:
    model = load_head_model()
    rig = PRESETS[config.preset](config.rate)
    sensors = tuple(draw_sensor_noise(config.noise, config.subject, k) for k in range(len(rig.cameras)))
    times_s = np.arange(config.frames) / config.rate
    person = choose_person(config.people, config.subject)
    appearance = paint_appearance(model, config.subject, person)
    if config.scan is None:
        subject = draw_subject(model, config.subject, config.off_basis * 1e-3, person)
        face_vertices = model.region("face").numpy()
        place = FACE_CENTRE - subject.neutral[face_vertices].mean(0)
        performance = perform(times_s, subject.expression_names, place, config.subject)
        face_mask = np.asarray(face_vertices[subject.faces].all(1))
    else:
        subject = scanned_subject(config.scan, config.unit)
        performance = stand_still(times_s, FACE_CENTRE, config.subject)
        face_mask = np.ones(len(subject.faces), bool)
    if subject.texture is not None:
        wear = np.zeros(subject.texture.shape[:2])
        appearance = Appearance(subject.texture, wear, 0.6, appearance.light, appearance.key_direction, 0)
    return Stage(config, model, subject, appearance, performance, rig, sensors, face_mask)


def _clocks(config: SimulationConfig, rig: Rig) -> tuple[dict[str, ClockReading], ClockTruth]:
    """What each camera's recorder notes, a line a frame, and the truth about it."""
    if config.faults == "studio":
        return simulate_clocks(rig, config.frames, config.rate, config.subject)
    triggers = _recorded_triggers(config, rig)
    times_s = np.arange(config.frames) / config.rate
    clocks = {}
    for number, camera in enumerate(rig.cameras):
        clock, kept = read_clock(times_s, config.subject, number), np.array(triggers[number])
        clocks[camera.id] = ClockReading(clock.device_ns[kept], clock.host_ns[kept], clock.frame_counter[kept])
    return clocks, ClockTruth(dict(zip(rig.ids, triggers, strict=True)), {}, "")


def _recorded_triggers(config: SimulationConfig, rig: Rig) -> tuple[tuple[int, ...], ...]:
    """Which triggers each camera recorded, in order; `usual` faults drop some, double one and start one late."""
    every = [list(range(config.frames)) for _ in rig.cameras]
    if config.faults == "usual":
        random = np.random.default_rng([config.subject, 5])
        late = int(random.integers(len(every)))
        for number, triggers in enumerate(every):
            if number == late:
                del triggers[: min(max(1, config.frames // 10), config.frames - 1)]  # one frame is always left
            for _ in range(max(1, config.frames // 50)):
                if len(triggers) > 4:
                    del triggers[int(random.integers(1, len(triggers) - 1))]
            if number % 3 == 1:
                again = int(random.integers(len(triggers)))
                triggers.insert(again, triggers[again])
    return tuple(tuple(triggers) for triggers in every)


def _shoot(out: Path, stage: Stage, frame: int, number: int) -> None:
    """Render one camera's picture of one trigger, unless an earlier run has."""
    camera = stage.rig.cameras[number]
    path = _picture_path(out, camera, frame)
    mask_path = out / "truth" / "masks" / camera.id / f"{frame:06d}.png"
    if path.exists() and mask_path.exists():
        return
    vertices = stage.vertices_world(frame)
    random = np.random.default_rng([stage.config.subject, 6, number, frame])
    if camera.kind == "rgb":
        radiance, mask = render_colour(stage, camera, vertices)
        picture = sense_colour(radiance, stage.sensors[number], random)
        encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 96])[1]
    else:
        depth, cosine, mask = render_depth(stage, camera, vertices)
        assert camera.depth_unit_m is not None
        counts = sense_depth(depth, cosine, camera.depth_unit_m, stage.sensors[number], random)
        encoded = cv2.imencode(".png", counts, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    write_whole(mask_path, cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    write_whole(path, encoded.tobytes())


def _picture_path(out: Path, camera: Camera, frame: int) -> Path:
    return out / camera.id / f"{frame:06d}.{'jpg' if camera.kind == 'rgb' else 'png'}"


def render_colour(
    stage: Stage, camera: Camera, vertices: Float[np.ndarray, "v 3"]
) -> tuple[Float[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Linear radiance and mask (0 backdrop, 128 head, 255 face) of a colour camera."""
    rows, columns = camera.image_size_hw
    image = np.full((rows, columns, 3), BACKDROP, np.float32)
    mask = np.zeros((rows, columns), np.uint8)
    window = screen_window(camera, vertices, MARGIN_PX)
    if window is None:
        return image, mask
    scaled = window.vertices_screen * [SUPERSAMPLE, SUPERSAMPLE, 1]
    fragments = rasterize_arrays(scaled, stage.subject.faces, (window.height * SUPERSAMPLE, window.width * SUPERSAMPLE))
    fragments = _of_outside(fragments, stage, camera, vertices)
    subject = stage.subject
    mesh = TexturedMesh(vertices, subject.faces, subject.uv, subject.uv_faces)
    crop = shade(fragments, mesh, camera, stage.appearance, np.full(3, BACKDROP))
    image[window.place] = cv2.resize(crop, (window.width, window.height), interpolation=cv2.INTER_AREA)
    index = fragments.face_index[::SUPERSAMPLE, ::SUPERSAMPLE]
    mask[window.place] = _mask(stage, index)
    return image, mask


def render_depth(
    stage: Stage, camera: Camera, vertices: Float[np.ndarray, "v 3"]
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Perfect depth in metres, cosine of the angle of incidence, and mask of a depth camera."""
    rows, columns = camera.image_size_hw
    depth, cosine = np.zeros((rows, columns), np.float32), np.ones((rows, columns), np.float32)
    mask = np.zeros((rows, columns), np.uint8)
    window = screen_window(camera, vertices, MARGIN_PX)
    if window is None:
        return depth, cosine, mask
    fragments = rasterize_arrays(window.vertices_screen, stage.subject.faces, (window.height, window.width))
    fragments = _of_outside(fragments, stage, camera, vertices)
    place = window.place
    depth[place] = fragments.depth
    normals = face_normals(vertices, stage.subject.faces)
    towards = camera.centre_world - vertices[stage.subject.faces].mean(1)
    length = np.linalg.norm(normals, axis=1) * np.linalg.norm(towards, axis=1)
    of_faces = np.abs((normals * towards).sum(1)) / np.maximum(length, 1e-20)
    cosine[place] = np.where(fragments.mask, of_faces[fragments.face_index], 1.0)
    mask[place] = _mask(stage, fragments.face_index)
    return depth, cosine, mask


def _of_outside(
    fragments: FragmentArrays, stage: Stage, camera: Camera, vertices: Float[np.ndarray, "v 3"]
) -> FragmentArrays:
    """The fragments without the inside of a drawn head, which has no body: a camera must not look in at its neck.

    Nothing is seen there, as behind a collar. A scan's triangles may be wound either way, and all of it is seen.
    """
    if not stage.subject.expression_names:
        return fragments
    normals, middles = face_normals(vertices, stage.subject.faces), vertices[stage.subject.faces].mean(1)
    outside = ((camera.centre_world - middles) * normals).sum(1) >= 0
    shown = fragments.mask & outside[fragments.face_index]
    return replace(
        fragments,
        face_index=np.where(shown, fragments.face_index, -1).astype(fragments.face_index.dtype),
        depth=np.where(shown, fragments.depth, np.float32(0)),
        barycentric=np.where(shown[..., None], fragments.barycentric, np.float32(0)),
    )


def _mask(stage: Stage, face_index: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    value = np.where(stage.face_mask, 255, 128).astype(np.uint8)
    return np.where(face_index >= 0, value[face_index], 0).astype(np.uint8)


def _write_tables(
    out: Path, stage: Stage, clocks: dict[str, ClockReading], triggers: tuple[tuple[int, ...], ...]
) -> None:
    """Each camera's frames.csv, with its own clock; doubled frames arrive twice."""
    for number, camera in enumerate(stage.rig.cameras):
        files = tuple(_picture_path(out, camera, frame).name for frame in triggers[number])
        clock = clocks[camera.id]
        FrameTable(files, clock.device_ns, clock.host_ns, clock.frame_counter, clock.trigger_id).write(out / camera.id)
        for frame in set(range(stage.config.frames)) - set(triggers[number]):
            _picture_path(out, camera, frame).unlink(missing_ok=True)


def _write_truth(truth: Path, stage: Stage, triggers: tuple[tuple[int, ...], ...], times_s: np.ndarray) -> None:
    """Parameters, vertices, exact cameras and synchrony; only evaluation reads this folder."""
    truth.mkdir(parents=True, exist_ok=True)
    vertices = np.stack([stage.vertices_world(frame) for frame in range(stage.config.frames)]).astype(np.float32)
    part = truth / ".subject.part"
    with part.open("wb") as file:
        np.savez(
            file,
            times_s=times_s,
            vertices=vertices,
            faces=stage.subject.faces,
            face_mask=stage.face_mask,
            curves=stage.performance.curves,
            curve_names=np.array(stage.subject.expression_names),
            rotvec=stage.performance.rotvec,
            translation=stage.performance.translation,
        )
    part.replace(truth / "subject.npz")
    write_whole(truth / "rig.json", json.dumps(rig_to_json(stage.rig), indent=1))
    sync = {camera.id: list(kept) for camera, kept in zip(stage.rig.cameras, triggers, strict=True)}
    write_whole(truth / "synchrony.json", json.dumps(sync))
