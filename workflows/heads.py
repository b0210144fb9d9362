"""The head of a take: person, curves and poses, texture, each stored as a result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from evaluation.gaze import find_eyes
from evaluation.motion import lag_frames
from flame_fitting.blind_frames import with_blind_frames
from flame_fitting.evidence import EvidenceCameras
from flame_fitting.fit import FitConfig, HeadFit, one_thread
from flame_fitting.focal_length import lens_metrics, lenses_named
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head, load_head_model
from flame_fitting.person import Person, as_indices, fit_person, relit_person
from flame_fitting.residuals import TERMS
from flame_fitting.segments import FITTED, FROM_DEPTH, Track, bridged, cut, track_segment
from flame_fitting.steadiness import jitter_mm_per_frame2
from flame_fitting.texture import PosedView, Texture, bake_texture, supported_vertices
from geometry.errors import InputError
from storage.results import Provenance, ResultArray, StoredArray, StoredResult
from storage.take import Take
from workflows.progress import Report
from workflows.scheduling import MustStop, run_tasks
from workflows.take_evidence import TakeEvidence

TEXTURE_FRAMES = 3
SEGMENT_FRAMES = 64
"""Frames of a segment where nothing else is asked for: large beside its overlap, small beside memory."""


@dataclass(frozen=True)
class HeadConfig:
    """How to fit heads to a take."""

    model: str = "anny"
    """Which head model."""
    fit: FitConfig = field(default_factory=FitConfig)
    """The plan of the fit."""
    device: str = "cpu"
    """Where it is computed, cpu or cuda; no part of what is stored, so that a fit can go on elsewhere."""

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise InputError("--device cpu or cuda", self.device, "name one of them, or leave it out")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("a CUDA GPU for --device cuda", "none that torch finds", "leave --device out")


@dataclass(frozen=True, eq=False)
class StoredHead:
    """A fitted take, as `mien fit` stored it."""

    curves: Float[np.ndarray, "t e"]
    """ARKit curves in [0, 1]."""
    curve_names: tuple[str, ...]
    """Their names."""
    rotation: Float[np.ndarray, "t 3 3"]
    """World from head."""
    translation: Float[np.ndarray, "t 3"]
    """Where the head's origin is in the world, metres."""
    identity: Float[np.ndarray, "k"]
    """Standard deviations."""
    rest_vertices: Float[np.ndarray, "v 3"]
    """The person's neutral head in the head's frame, metres."""
    expression_shapes: Float[np.ndarray, "e v 3"]
    """The person's own expression shapes, metres."""
    result: StoredResult
    """Vertices and texture are read from here when asked for."""

    @classmethod
    def read(cls, take: Take) -> StoredHead:
        """Raises InputError naming `mien fit` when there is none."""
        result = take.results.read("fit")
        names = [each.name for each in fields(cls) if each.name not in ("curve_names", "result")]
        arrays = {name: np.asarray(result[name]) for name in names}
        return cls(**arrays, curve_names=result["curves"].labels("curve"), result=result)


def find_person(
    take: Take, config: HeadConfig, progress: Report, identity_from: Take | None = None, overwrite: bool = False
) -> Person:
    """Who is recorded, from this take's key frames or as another take of the same subject found; stored as a result.

    With another take's person its texture is stored, too, so that both takes have one albedo.
    Raises InputError when the other take is of another subject or model, or not fitted.
    """
    origin = person_origin(take, config, identity_from)
    if not take.results.claim("person", "default", origin.config, origin.inputs, overwrite):
        return read_person(take.results.read("person"))
    one_thread()
    model, head, marks = load_head_model(config.model), load_head(config.model), take.results.read("landmarks")
    lenses = lens_metrics(head, TakeEvidence(take, marks), take.rig.rgb, config.fit.person.prior)
    if identity_from is None:
        evidence = TakeEvidence(take, marks, lenses)
        person = fit_person(head, evidence, config.fit.person, progress, config.device)
        texture = {}
    else:
        person = read_person(identity_from.results.read("person"))
        person = relit_person(head, person, TakeEvidence(take, marks, lenses), config.fit.person)
        fit = identity_from.results.read("fit")
        texture = _texture_arrays(np.asarray(fit["base_colour"]), np.asarray(fit["texel_seen"]))
    metrics = {"key_frames": float(len(person.key_frames))} | lenses
    provenance = Provenance(origin.config, origin.inputs, metrics, model.licence)
    take.results.write("person", "default", _person_arrays(person, model) | texture, provenance, overwrite=True)
    return read_person(take.results.read("person"))


def person_origin(take: Take, config: HeadConfig, identity_from: Take | None = None) -> Provenance:
    """Settings and inputs that the take's person has once it is found; raises what `find_person` raises for them."""
    settings = {"model": config.model, "person": asdict(config.fit.person)}
    if identity_from is None:
        return Provenance(settings, {"take": take.digest, "landmarks": take.results.read("landmarks").digest})
    _require_same_subject(take, identity_from)
    fit = identity_from.results.read("fit")
    stored = identity_from.results.read("person")
    _require_same_model(config.model, stored)
    if fit.provenance.inputs.get("person") != stored.digest:
        where = identity_from.place.address
        got = f"one of an earlier person at {where}"
        raise InputError("a fit of the person for --identity-from", got, f"run `mien fit {where} --overwrite` first")
    return Provenance(settings, {"person": stored.digest, "fit": fit.digest})


def _require_same_subject(take: Take, other: Take) -> None:
    if take.place.address == other.place.address:
        raise InputError("another take for --identity-from", "the same one", "name another take of the same person")
    if take.header.subject_id != other.header.subject_id:
        raise InputError(
            f"a take of subject {take.header.subject_id!r} for --identity-from",
            f"one of {other.header.subject_id!r}",
            "name a take of the same person",
        )


def _require_same_model(model: str, stored: StoredResult) -> None:
    if stored.provenance.config["model"] != model:
        got = f"a person of model {stored.provenance.config['model']!r}"
        raise InputError(f"a person of model {model!r} for --identity-from", got, "fit both takes with one model")


def _person_arrays(person: Person, model: HeadModel) -> dict[str, ResultArray]:
    cameras = tuple(sorted(person.landmark_offsets))
    offsets = np.stack([person.landmark_offsets[camera] for camera in cameras]) if cameras else np.zeros((0, 0, 2))
    return (
        {
            "identity": ResultArray(person.identity, ("mode",), "1"),
            "rest_vertices": ResultArray(person.rest, ("vertex", "xyz"), "m"),
            "expression_shapes": ResultArray(
                person.expressions.astype(np.float32),
                ("curve", "vertex", "xyz"),
                "m",
                {"curve": model.expression_names},
            ),
            "landmark_offset_m": ResultArray(offsets, ("camera", "landmark", "xy"), "m", {"camera": cameras}),
            "lip_gap": ResultArray(np.array([person.lip_gap]), ("mouth",), "1"),
            "key_frames": ResultArray(as_indices(person.key_frames), ("key",), "1"),
        }
        | _bias_arrays(person, model)
        | _appearance_arrays(person)
    )


def _bias_arrays(person: Person, model: HeadModel) -> dict[str, ResultArray]:
    """None for a person who was seen in depth."""
    if not person.curve_biases:
        return {}
    labels = {"camera": tuple(sorted(person.curve_biases)), "curve": model.expression_names}
    biases = np.stack([person.curve_biases[camera] for camera in labels["camera"]])
    return {"curve_bias": ResultArray(biases, ("camera", "curve"), "1", labels)}


def _appearance_arrays(person: Person) -> dict[str, ResultArray]:
    """None for a person whom no picture showed."""
    if person.albedo is None:
        return {}
    cameras = tuple(sorted(person.light))
    light = np.stack([person.light[camera] for camera in cameras])
    return {
        "albedo": ResultArray(person.albedo, ("point", "rgb"), "linear"),
        "light": ResultArray(light, ("camera", "harmonic", "rgb"), "linear", {"camera": cameras}),
    }


def read_person(stored: StoredResult) -> Person:
    """The person of a stored result."""
    offsets = stored["landmark_offset_m"]
    return Person(
        identity=np.asarray(stored["identity"]),
        rest=np.asarray(stored["rest_vertices"]),
        expressions=np.asarray(stored["expression_shapes"]).astype(np.float64),
        landmark_offsets=dict(zip(offsets.labels("camera"), np.asarray(offsets), strict=True)),
        key_frames=tuple(int(frame) for frame in np.asarray(stored["key_frames"])),
        curve_biases=_by_camera(stored["curve_bias"]) if "curve_bias" in stored.arrays else {},
        lip_gap=float(np.asarray(stored["lip_gap"])[0]) if "lip_gap" in stored.arrays else 0.0,
        albedo=np.asarray(stored["albedo"]) if "albedo" in stored.arrays else None,
        light=_by_camera(stored["light"]) if "light" in stored.arrays else {},
    )


def _by_camera(stored: StoredArray) -> dict[str, np.ndarray]:
    return dict(zip(stored.labels("camera"), np.asarray(stored), strict=True))


@dataclass(frozen=True)
class TrackJob:
    """What every task of a take's tracking needs; small, because it crosses to other processes."""

    take: str
    """Path or URL of the take."""
    config: HeadConfig
    """How to track."""
    provenance: Provenance
    """Of the segments' results."""


def _track_task(job: TrackJob, frames: range, must_stop: MustStop) -> int:
    """Track one segment and store it; a segment that is stored already is left alone."""
    take, run, origin = Take.open(job.take), _segment_run(frames), job.provenance
    if must_stop():
        return 0
    if not take.results.is_current("track", run, origin.config, origin.inputs):
        one_thread()
        head = load_head(job.config.model)
        stored = take.results.read("person")
        person = read_person(stored)
        evidence = TakeEvidence(take, take.results.read("landmarks"), stored.provenance.metrics)
        track = track_segment(head, person, evidence, frames, job.config.fit.track, job.config.device)
        take.results.write("track", run, _track_arrays(track, evidence.cameras, head.model), origin, overwrite=True)
    return len(frames)


def _segment_run(frames: range) -> str:
    return f"{frames.start:06d}-{frames.stop:06d}"


def _track_arrays(track: Track, cameras: EvidenceCameras, model: HeadModel) -> dict[str, ResultArray]:
    labels = {"curve": model.expression_names}
    return {
        "curves": ResultArray(track.curves, ("frame", "curve"), "1", labels),
        "curves_alone": ResultArray(track.curves_alone, ("frame", "curve"), "1", labels),
        "rotation": ResultArray(track.rotation, ("frame", "row", "column"), "1"),
        "translation": ResultArray(track.translation, ("frame", "xyz"), "m"),
        "frame_state": ResultArray(track.frame_state, ("frame",), "1"),
        "views": ResultArray(track.views.astype(np.int32), ("frame",), "1"),
        "term_loss": ResultArray(track.term_loss, ("frame", "term"), "1", {"term": TERMS}),
        "depth_residual_m": ResultArray(track.depth_residual_m, ("frame",), "m"),
        "camera_residual_px": ResultArray(
            track.camera_residual_px, ("frame", "camera"), "px", {"camera": cameras.colour}
        ),
        "camera_depth_residual_m": ResultArray(
            track.camera_depth_residual_m, ("frame", "camera"), "m", {"camera": cameras.depth}
        ),
    }


def _read_track(stored: StoredResult) -> Track:
    return Track(**{each.name: np.asarray(stored[each.name]) for each in fields(Track)})


def track_take(take: Take, config: HeadConfig, progress: Report, segments: int | None, scheduler: str) -> Track:
    """Curves and pose of every frame, in segments; those that a killed run has stored are read back."""
    inputs = {name: take.results.read(name).digest for name in ("landmarks", "person")} | {"take": take.digest}
    job = TrackJob(str(take.path), config, Provenance({"track": asdict(config.fit.track)}, inputs))
    pieces = cut(take.frame_count, segments or -(-take.frame_count // SEGMENT_FRAMES))
    done = 0

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        progress(done, take.frame_count)

    run_tasks(_track_task, job, pieces, scheduler, count)
    track = Track.joined([_read_track(take.results.read("track", _segment_run(piece))) for piece in pieces])
    one_thread()
    stored = take.results.read("person")
    evidence = TakeEvidence(take, take.results.read("landmarks"), stored.provenance.metrics)
    told = config.fit.track
    return bridged(
        with_blind_frames(load_head(config.model), read_person(stored), evidence, track, told, config.device)
    )


def fit_heads(
    take: Take,
    config: HeadConfig,
    progress: Report,
    overwrite: bool = False,
    *,
    segments: int | None = None,
    scheduler: str = "threads",
) -> StoredHead:
    """Track the take's person and store curves, poses, vertices and texture; no-op when that is done.

    A person who was found in another take brings the texture along; else it is gathered from this take's pictures.
    """
    if segments is not None and segments < 1:
        raise InputError("--segments of at least 1", str(segments), "raise it, or leave it out")
    origin = fit_origin(take, config)
    if not take.results.claim("fit", "default", origin.config, origin.inputs, overwrite):
        return StoredHead.read(take)
    model = load_head_model(config.model)
    track = track_take(take, config, progress, segments, scheduler)
    stored = take.results.read("person")
    fit = HeadFit(read_person(stored), track)
    evidence = TakeEvidence(take, take.results.read("landmarks"), stored.provenance.metrics)
    one_thread()
    if "base_colour" in stored.arrays:
        texture = Texture(np.asarray(stored["base_colour"]), np.asarray(stored["texel_seen"]))
    else:
        texture = bake_texture(model, tuple(_texture_views(evidence, fit)))
    arrays = _track_arrays(track, evidence.cameras, model) | _fit_arrays(model, fit)
    arrays |= _texture_arrays(texture.base_colour, texture.seen)
    metrics = _metrics(model, fit, texture, arrays["vertices"].values) | lenses_named(stored.provenance.metrics)
    provenance = Provenance(origin.config, origin.inputs, metrics, model.licence)
    take.results.write("fit", "default", arrays, provenance, overwrite=True)
    for run in take.results.runs("track"):
        take.results.remove("track", run)
    return StoredHead.read(take)


def fit_origin(take: Take, config: HeadConfig) -> Provenance:
    """Settings and inputs that the take's fit has once it is done."""
    inputs = {name: take.results.read(name).digest for name in ("landmarks", "person")} | {"take": take.digest}
    return Provenance({"model": config.model, "fit": asdict(config.fit)}, inputs)


def _texture_arrays(base_colour: UInt8[np.ndarray, "s s 3"], seen: Bool[np.ndarray, "s s"]) -> dict[str, ResultArray]:
    return {
        "base_colour": ResultArray(base_colour, ("y", "x", "rgb"), "sRGB"),
        "texel_seen": ResultArray(seen, ("y", "x"), "1"),
    }


def _fit_arrays(model: HeadModel, fit: HeadFit) -> dict[str, ResultArray]:
    person, frames = fit.person, len(fit.track.curves)
    vertices = np.stack([fit.vertices_world(frame).astype(np.float32) for frame in range(frames)])
    labels = {"curve": model.expression_names}
    return {
        "identity": ResultArray(person.identity, ("mode",), "1"),
        "rest_vertices": ResultArray(person.rest, ("vertex", "xyz"), "m"),
        "expression_shapes": ResultArray(
            person.expressions.astype(np.float32), ("curve", "vertex", "xyz"), "m", labels
        ),
        "vertices": ResultArray(vertices, ("frame", "vertex", "xyz"), "m"),
        "faces": ResultArray(model.faces.numpy().astype(np.int32), ("face", "corner"), "1"),
        "face_region": ResultArray(model.region("face").numpy(), ("vertex",), "1"),
        "gaze": ResultArray(_gaze(model, person, vertices), ("frame", "eye", "xyz"), "1", {"eye": ("left", "right")}),
    }


def _gaze(model: HeadModel, person: Person, vertices: Float[np.ndarray, "t v 3"]) -> Float[np.ndarray, "t 2 3"]:
    """Unit vectors in the world, left eye first; nan for a model without eyeballs."""
    eyes = find_eyes(person.rest, model.faces.numpy())
    return np.full((len(vertices), 2, 3), np.nan) if eyes is None else eyes.gaze(vertices)


def _metrics(
    model: HeadModel, fit: HeadFit, texture: Texture, vertices: Float[np.ndarray, "t v 3"]
) -> dict[str, float | str]:
    track = fit.track
    measured = track.depth_residual_m[np.isfinite(track.depth_residual_m)]
    return {
        "model": model.name,
        "frames_without_face": float((track.frame_state != FITTED).sum()),
        "frames_from_depth": float((track.frame_state == FROM_DEPTH).sum()),
        "depth_residual_mm_median": float(np.median(measured)) * 1000 if len(measured) else float("nan"),
        "identity_rms": float(np.sqrt((fit.person.identity**2).mean())),
        "texels_seen_share": float(texture.seen.mean()),
        "jitter_mm_per_frame2": jitter_mm_per_frame2(vertices[:, model.region("face").numpy()]),
        "lag_frames": lag_frames(track.curves, track.curves_alone),
    }


def _texture_views(evidence: TakeEvidence, fit: HeadFit) -> list[PosedView]:
    """All colour pictures of the calmest frames: open mouths and closed eyes would bake into the skin."""
    take, track = evidence.take, fit.track
    fitted = np.flatnonzero(track.frame_state == FITTED)
    calm = fitted[np.argsort(track.curves[fitted].sum(1), kind="stable")[:TEXTURE_FRAMES]]
    views = []
    for frame in sorted(int(index) for index in calm):
        vertices = fit.vertices_world(frame)
        supported = supported_vertices(vertices, evidence.depth(frame))
        for camera in evidence.rig.rgb:
            picture = take.frame(camera.id, frame)
            if picture is not None:
                views.append(PosedView(camera, picture, vertices, supported))
    return views
