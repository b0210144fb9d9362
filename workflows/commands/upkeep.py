"""What is installed: models."""

from __future__ import annotations

from typing import Annotated

import tyro

from geometry.errors import InputError
from workflows.answers import answer
from workflows.commands.arguments import JsonFlag, OptionalPath

Action = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="install|list")]]


def models(action: Action = "list", wheel: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """Install or list what mien computes and downloads once: landmark networks and the head model.

    Args:
        action: install or list.
        wheel: a mediapipe 0.10.14 wheel that is here already, for machines without a network.
    """
    from flame_fitting.landmarks.weights import install_landmark_weights
    from flame_fitting.models.registry import cache_folder, head_model_path, load_head_model
    from workflows.progress import step

    if action not in ("install", "list"):
        raise InputError("`mien models install` or `mien models list`", repr(action), "choose one of these")
    if action == "install":
        with step("landmarks"):
            install_landmark_weights(wheel=wheel)
        with step("head model"):
            load_head_model()
    here = sorted(str(path.relative_to(cache_folder())) for path in cache_folder().rglob("*") if path.is_file())
    installed = {"folder": str(cache_folder()), "files": here, "head_model": head_model_path().exists()}
    return answer(installed, as_json)
