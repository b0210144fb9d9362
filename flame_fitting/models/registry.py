"""Head models by name or by file, built once and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

from flame_fitting.models.contours import HeadContours, load_contours
from flame_fitting.models.flame import read_flame
from flame_fitting.models.flame_head import flame_head
from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from flame_fitting.models.plain_arrays import archive_keys
from flame_fitting.models.plain_model import Head, read_plain_head, write_plain_head
from geometry.errors import InputError

LAYOUT = 4
"""Raise when the stored model changes its meaning, so that older caches are built again."""


def cache_folder() -> Path:
    """Where models and weights are kept: `$MIEN_CACHE`, else `~/.cache/mien`."""
    return Path(os.environ.get("MIEN_CACHE", "~/.cache/mien")).expanduser()


def _anny() -> HeadModel:
    from flame_fitting.models.anny import build_anny_head_model

    return build_anny_head_model()


HEAD_MODELS: dict[str, Callable[[], HeadModel]] = {"anny": _anny}
EXPECTED = f"a head model: {', '.join(HEAD_MODELS)}, FLAME's .pkl or .npz, or an .npz with a head model's keys"


def model_name(name_or_path: str) -> str:
    """A model of mien's by its name, a user's by its whole path, so that a result says which file it was.

    Raises InputError where there is no such file.
    """
    if name_or_path in HEAD_MODELS:
        return name_or_path
    path = Path(name_or_path).expanduser()
    _require_model_file(path)
    return str(path.resolve())


def head_model_path(name: str = "anny") -> Path:
    """Where the built model lies; the name carries what it was built from."""
    if name not in HEAD_MODELS:
        raise InputError(EXPECTED, repr(name), "choose one of these")
    return cache_folder() / "models" / f"{name}-{version(name)}-layout{LAYOUT}.npz"


def load_head_model(name_or_path: str | Path = "anny") -> HeadModel:
    """The model from the cache (milliseconds), built and cached first if it is not there (seconds).

    A name of HEAD_MODELS, or a file: FLAME's `.pkl` or `.npz`, or an `.npz` with the keys of docs/head-models.md.
    Raises InputError for everything else, and for files that are not what they should be.
    """
    if str(name_or_path) in HEAD_MODELS:
        path = head_model_path(str(name_or_path))
        if not path.exists():
            HEAD_MODELS[str(name_or_path)]().save(path)
        return HeadModel.load(path)
    return load_head_file(name_or_path).model


def load_landmark_embedding(name_or_path: str | Path = "anny") -> LandmarkEmbedding:
    """Where MediaPipe's landmarks sit on a model; the default head's made by `tools/make_landmark_embedding.py`."""
    if str(name_or_path) not in HEAD_MODELS:
        return load_head_file(name_or_path).landmarks
    rows = json.loads((Path(__file__).parent / f"{name_or_path}_landmarks.json").read_text())["landmarks"]
    index, faces, barycentric, spread = zip(*rows, strict=True)
    weights = torch.tensor(barycentric, dtype=torch.float64)
    return LandmarkEmbedding(
        faces=torch.tensor(faces),
        barycentric=weights / weights.sum(1, keepdim=True),
        source_index=torch.tensor(index),
        spread_m=torch.tensor(spread, dtype=torch.float64),
    )


def load_head_contours(name_or_path: str | Path = "anny") -> HeadContours:
    """Where a model's lips and lids meet; the default head's made by `tools/make_head_contours.py`."""
    if str(name_or_path) in HEAD_MODELS:
        return load_contours(str(name_or_path))
    return load_head_file(name_or_path).contours


def load_head(name_or_path: str | Path = "anny") -> Head:
    """Model, landmarks and contours in one."""
    if str(name_or_path) not in HEAD_MODELS:
        return load_head_file(name_or_path)
    model, landmarks = load_head_model(name_or_path), load_landmark_embedding(name_or_path)
    return Head(model, landmarks, load_head_contours(name_or_path))


def load_head_file(path: str | Path) -> Head:
    """A head of a user's file; what is transferred from the default head is cached by the file's content."""
    path = Path(path).expanduser()
    _require_model_file(path)
    about = path.stat()
    return _load_head_file(path.resolve(), about.st_mtime_ns, about.st_size)


def _require_model_file(path: Path) -> None:
    if path.suffix not in (".pkl", ".npz") or not path.is_file():
        raise InputError(EXPECTED, str(path), "name one of these, or a file that is there")


@lru_cache(maxsize=2)
def _load_head_file(path: Path, changed_ns: int, size: int) -> Head:
    """Model, landmarks and contours are asked for one after another: the file is read once."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    is_flame = path.suffix == ".pkl" or "v_template" in archive_keys(path)
    flame = read_flame(path) if is_flame else None
    # A FLAME file's version is in its name, not in its content.
    label = f"flame-{flame.version}" if flame else "head"
    kept = cache_folder() / "models" / f"{label}-{digest}-anny{version('anny')}-layout{LAYOUT}.npz"
    if kept.is_file():
        return read_plain_head(kept, load_head)
    head = flame_head(flame, load_head) if flame else read_plain_head(path, load_head)
    if head.transferred:
        write_plain_head(kept, head)
    return head
