"""Record a ChArUco board that is waved around the subject's place: the recording that `mien calibrate` wants.

What a recorder writes goes into the folder, its cameras uncalibrated; the true rig goes to `truth/`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16
from scipy.spatial.transform import Rotation

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at
from rendering.colour import srgb_encode
from storage.image_folder import MARKER, FrameTable, RecordingCard, write_whole
from storage.rig_json import rig_to_json
from studio.calibration_board import BoardPicture, PrintedBoard, see_board
from studio.clocks import read_clock
from studio.presets import FACE_CENTRE, PRESETS, UP
from studio.sensors import COLOUR_SIGMA, SensorNoise, draw_sensor_noise, sense_depth

NOTE = "simulation.json"
RATE_HZ = 2.0
"""Pictures a second: slow enough to hold the board still between its places."""
REACH_M = 0.16
"""How far the board's middle moves from where the face will be, each way."""
TURN_DEG = 180.0
CURTAIN = 0.035
AMBIENT, KEY = 0.45, 0.45
"""Light from everywhere and from a lamp, so that white paper is nowhere clipped."""
INFRARED_COUNTS, INFRARED_AT_M, INFRARED_SIGMA = 900.0, 1.0, 12.0
"""Counts of white paper at a metre under the sensor's own light, and the noise of one pixel."""
DEPTH_SCALE_SIGMA = 0.003
"""What a depth sensor's scale is off by, one standard deviation."""
JPEG_QUALITY = 96
NOISES, SENSORS = ("none", "kinect"), ("own", "person")
_SRGB_STEPS = 65535
_SRGB: Float[np.ndarray, "65536"] = 255 * srgb_encode(np.linspace(0, 1, _SRGB_STEPS + 1, dtype=np.float32))
"""Grey levels by linear value: a table, because a wave is 10^10 pixels."""


@dataclass(frozen=True)
class WaveConfig:
    """What to record."""

    preset: str = "desk"
    """desk (4 modules) or vocap (31 modules)."""
    poses: int = 60
    """Places of the board, one frame set each."""
    seed: int = 0
    """Of the poses and of every error."""
    noise: str = "kinect"
    """none, or kinect: noise, blur, gains, depth bias and scale."""
    sensors: str = "own"
    """own: drawn for this recording alone; person: those that `mien simulate` of a person with the same preset and seed
    records with, whose depth is biased but has no error of scale."""

    def __post_init__(self) -> None:
        choices = (
            ("--preset", self.preset, tuple(PRESETS)),
            ("--noise", self.noise, NOISES),
            ("--sensors", self.sensors, SENSORS),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                raise InputError(f"{name} {' or '.join(allowed)}", repr(value), "choose one of these")
        if self.poses < 1:
            raise InputError("--poses of at least 1", str(self.poses), "raise it")


def record_board(
    out: Path,
    config: WaveConfig,
    board: PrintedBoard | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Record into a folder; False when the same recording is there already. Infrared comes beside each depth stream.

    Raises InputError when something else stands in the way.
    """
    board = board or PrintedBoard()
    note = _note(config, board)
    if out.exists() and any(out.iterdir()):
        same = (out / NOTE).exists() and (out / NOTE).read_text() == note
        if same and (out / MARKER).exists():
            return False
        if not same and not (overwrite and (out / NOTE).exists()):
            raise InputError(
                "an empty place for the recording", f"{out}, which holds something else", "use --overwrite"
            )
        if not same:
            shutil.rmtree(out)
    write_whole(out / NOTE, note)
    rig = with_infrared(PRESETS[config.preset](RATE_HZ))
    poses = wave(rig, board, config.poses, config.seed)
    done = 0

    def shoot(number: int) -> None:
        nonlocal done
        _shoot(out, rig, board, poses, (config, number))
        done += 1
        if progress:
            progress(done, len(rig.cameras))

    board.texture  # noqa: B018 - made once, before the threads share it
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        list(pool.map(shoot, range(len(rig.cameras))))
    _write_truth(out / "truth", rig, board, poses, config)
    bare = [Camera.uncalibrated(camera.id, camera.module, camera.kind, camera.image_size_hw) for camera in rig.cameras]
    start = Rig(tuple(replace(b, rate_hz=RATE_HZ, serial=c.serial) for b, c in zip(bare, rig.cameras, strict=True)))
    write_whole(out / "rig.json", json.dumps(rig_to_json(start), indent=1))
    RecordingCard("board", "simulated board, CC0-1.0", "no person is shown", rig.ids).write(out)
    return True


def _note(config: WaveConfig, board: PrintedBoard) -> str:
    """What makes a recording this one and no other; options that came later are left out where they say nothing."""
    values = {"board": board.spec, **asdict(config)}
    if config.sensors == "own":
        del values["sensors"]
    return json.dumps(values, indent=1)


def with_infrared(rig: Rig) -> Rig:
    """Beside each depth camera the infrared picture of the same sensor."""
    cameras: list[Camera] = []
    for camera in rig.cameras:
        cameras.append(camera)
        if camera.kind == "depth":
            name = camera.id.replace("depth", "infrared")
            cameras.append(replace(camera, id=name, kind="infrared", depth_unit_m=None, serial=camera.serial))
    return Rig(tuple(cameras))


def wave(rig: Rig, board: PrintedBoard, count: int, seed: int) -> list[RigidTransform]:
    """`world_from_board` of each pose: turned towards one camera after the other, tilted, rolled and moved about."""
    random = np.random.default_rng([seed, 11])
    directions = np.stack([camera.centre_world - FACE_CENTRE for camera in rig.cameras])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    order = np.concatenate([random.permutation(len(directions)) for _ in range(1 + count // len(directions))])
    poses = []
    for number in range(count):
        centre = FACE_CENTRE + random.uniform(-REACH_M, REACH_M, 3)
        towards = directions[order[number]] + random.normal(0, 0.35, 3)
        towards /= np.linalg.norm(towards)
        facing = look_at(centre, centre - towards, UP).rotation
        rotation = facing @ Rotation.from_euler("z", random.uniform(-TURN_DEG, TURN_DEG), degrees=True).as_matrix()
        poses.append(RigidTransform(rotation, centre - rotation @ np.array([*(board.size_m / 2), 0.0])))
    return poses


@dataclass(frozen=True)
class DepthError:
    """How a depth camera of the recording measures: the truth is counts * unit * scale + offset."""

    scale: float
    """Close to 1."""
    offset_m: float
    """Close to 0."""


def wave_sensor(config: WaveConfig, rig: Rig, number: int) -> SensorNoise:
    """The errors of a camera of the wave's rig; of one sensor, infrared and depth share them where it is a person's."""
    if config.sensors == "own":
        return draw_sensor_noise(config.noise, config.seed, number)
    name = rig.cameras[number].id.replace("infrared", "depth")
    people = [camera.id for camera in rig.cameras if camera.kind != "infrared"]
    return draw_sensor_noise(config.noise, config.seed, people.index(name))


def depth_error(config: WaveConfig, sensor: SensorNoise, number: int) -> DepthError:
    """What a camera's depth has to be corrected by."""
    if config.noise == "none":
        return DepthError(1.0, 0.0)
    if config.sensors == "person":
        return DepthError(1.0, -sensor.depth_bias_m)
    scale = 1 + float(np.random.default_rng([config.seed, 12, number]).normal(0, DEPTH_SCALE_SIGMA))
    return DepthError(scale, -sensor.depth_bias_m * scale)


def _shoot(
    out: Path, rig: Rig, board: PrintedBoard, poses: list[RigidTransform], which: tuple[WaveConfig, int]
) -> None:
    """All pictures of one camera and its table of times."""
    config, number = which
    camera = rig.cameras[number]
    sensor = wave_sensor(config, rig, number)
    random = np.random.default_rng([config.seed, 13, number])
    lamp = np.random.default_rng([config.seed, 14]).normal(0, 1, 3) + UP
    normalised = camera.pixel_grid_normalised()
    suffix = "jpg" if camera.kind == "rgb" else "png"
    files = tuple(f"{frame:06d}.{suffix}" for frame in range(len(poses)))
    backdrop = _backdrop(camera, sensor, random)
    empty = _encode(camera, backdrop)
    for name, pose in zip(files, poses, strict=True):
        seen = see_board(camera, normalised, board, pose)
        if seen is None:
            write_whole(out / camera.id / name, empty)
            continue
        towards = -pose.rotation[:, 2] * (-1 if seen.cosine < 0 else 1)
        light = AMBIENT + KEY * max(0.0, float(towards @ lamp / np.linalg.norm(lamp)))
        picture = backdrop.copy()
        picture[seen.place] = _sense(camera, seen, light, (sensor, depth_error(config, sensor, number)), random)
        write_whole(out / camera.id / name, _encode(camera, picture))
    clock = read_clock(np.arange(len(poses)) / RATE_HZ, config.seed, number)
    FrameTable(files, clock.device_ns, clock.host_ns, clock.frame_counter).write(out / camera.id)


def _encode(camera: Camera, picture: np.ndarray) -> bytes:
    if camera.kind == "rgb":
        return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _sense(
    camera: Camera,
    seen: BoardPicture,
    light: float,
    errors: tuple[SensorNoise, DepthError],
    random: np.random.Generator,
) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
    sensor, depth = errors
    if camera.kind == "rgb":
        return _colour(seen.reflectance * light + (1 - seen.coverage) * CURTAIN, sensor, random)
    if camera.kind == "infrared":
        distance = np.where(seen.depth_m > 0, seen.depth_m, INFRARED_AT_M)
        return _infrared(seen.reflectance * (INFRARED_AT_M / distance) ** 2 * abs(seen.cosine), sensor, random)
    assert camera.depth_unit_m is not None
    # sense_depth adds the bias: it measures (true - offset) / scale.
    cosine = np.full(seen.depth_m.shape, abs(seen.cosine), np.float32)
    return sense_depth(seen.depth_m / np.float32(depth.scale), cosine, camera.depth_unit_m, sensor, random)


def _colour(
    radiance: Float[np.ndarray, "h w"], sensor: SensorNoise, random: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """sRGB of grey radiance, with the camera's blur, gains and noise."""
    if sensor.blur_px:
        radiance = cv2.GaussianBlur(radiance, (0, 0), sensor.blur_px)
    image = radiance[..., None] * np.array(sensor.gain_rgb, np.float32)
    srgb = _SRGB[np.clip(image * _SRGB_STEPS + 0.5, 0, _SRGB_STEPS).astype(np.uint16)]
    if sensor.noisy:
        srgb = srgb + COLOUR_SIGMA * random.standard_normal(srgb.shape, np.float32)
    return np.clip(np.round(srgb), 0, 255).astype(np.uint8)


def _infrared(
    radiance: Float[np.ndarray, "h w"], sensor: SensorNoise, random: np.random.Generator
) -> UInt16[np.ndarray, "h w"]:
    counts = radiance.astype(np.float32) * INFRARED_COUNTS
    if sensor.blur_px:
        counts = cv2.GaussianBlur(counts, (0, 0), sensor.blur_px)
    if sensor.noisy:
        counts = counts + INFRARED_SIGMA * random.standard_normal(counts.shape, np.float32)
    return np.clip(np.round(counts + 40), 0, 65535).astype(np.uint16)


def _backdrop(
    camera: Camera, sensor: SensorNoise, random: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
    """The picture without the board: a dark curtain that returns no infrared light."""
    rows, columns = camera.image_size_hw
    if camera.kind == "rgb":
        return _colour(np.full((rows, columns), CURTAIN, np.float32), sensor, random)
    if camera.kind == "infrared":
        return _infrared(np.zeros((rows, columns), np.float32), sensor, random)
    return np.zeros((rows, columns), np.uint16)


def _write_truth(truth: Path, rig: Rig, board: PrintedBoard, poses: list[RigidTransform], config: WaveConfig) -> None:
    """The true rig, board and depth errors; only tests and benchmarks read this folder."""
    write_whole(truth / "rig.json", json.dumps(rig_to_json(rig), indent=1))
    errors = {
        camera.id: asdict(depth_error(config, wave_sensor(config, rig, number), number))
        for number, camera in enumerate(rig.cameras)
        if camera.kind == "depth"
    }
    write_whole(truth / "depth.json", json.dumps(errors, indent=1))
    gains = {
        camera.id: list(wave_sensor(config, rig, number).gain_rgb)
        for number, camera in enumerate(rig.cameras)
        if camera.kind == "rgb"
    }
    write_whole(truth / "gains.json", json.dumps(gains, indent=1))
    boards = {"board": board.spec, "world_from_board": [pose.matrix.tolist() for pose in poses]}
    write_whole(truth / "board.json", json.dumps(boards))
