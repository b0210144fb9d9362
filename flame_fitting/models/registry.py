"""Head models by name, built once and cached."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from geometry.errors import InputError

LAYOUT = 2
"""Raise when the stored model changes its meaning, so that older caches are built again."""


def cache_folder() -> Path:
    """Where models and weights are kept: `$MIEN_CACHE`, else `~/.cache/mien`."""
    return Path(os.environ.get("MIEN_CACHE", "~/.cache/mien")).expanduser()


def _anny() -> HeadModel:
    from flame_fitting.models.anny import build_anny_head_model

    return build_anny_head_model()


HEAD_MODELS: dict[str, Callable[[], HeadModel]] = {"anny": _anny}


def head_model_path(name: str = "anny") -> Path:
    """Where the built model lies; the name carries what it was built from."""
    if name not in HEAD_MODELS:
        raise InputError(f"a head model ({', '.join(HEAD_MODELS)})", repr(name), "choose one of these")
    return cache_folder() / "models" / f"{name}-{version(name)}-layout{LAYOUT}.npz"


def load_head_model(name: str = "anny") -> HeadModel:
    """The model from the cache (milliseconds), built and cached first if it is not there (some ten seconds)."""
    path = head_model_path(name)
    if not path.exists():
        HEAD_MODELS[name]().save(path)
    return HeadModel.load(path)


def load_landmark_embedding(name: str = "anny") -> LandmarkEmbedding:
    """Where MediaPipe's landmarks sit on a model; made by `tools/make_landmark_embedding.py`."""
    rows = json.loads((Path(__file__).parent / f"{name}_landmarks.json").read_text())["landmarks"]
    index, faces, barycentric, spread = zip(*rows, strict=True)
    weights = torch.tensor(barycentric, dtype=torch.float64)
    return LandmarkEmbedding(
        faces=torch.tensor(faces),
        barycentric=weights / weights.sum(1, keepdim=True),
        source_index=torch.tensor(index),
        spread_m=torch.tensor(spread, dtype=torch.float64),
    )
