"""The landmark networks on disk: installed out of the mediapipe wheel, pinned by SHA-256.

The networks are MediaPipe's, Apache-2.0. Only the three files are taken; the package itself is never installed,
because it would bring its own OpenCV.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from geometry.errors import InputError

WHEEL_REQUIREMENT = "mediapipe==0.10.14"
_INSTALL_REMEDY = "run `mien models install`"


@dataclass(frozen=True)
class PinnedFile:
    """One network as it lies in the wheel."""

    name: str
    """File name in the cache."""
    wheel_path: str
    """Path inside the wheel."""
    size_bytes: int
    """Its exact size, checked before anything is read."""
    sha256: str
    """Hexadecimal digest of its content."""


@dataclass(frozen=True)
class LandmarkWeights:
    """Where the three networks lie, each of them checked."""

    detector: Path
    """face_detection_short_range.tflite: BlazeFace for faces within about two metres."""
    mesh: Path
    """face_landmark.tflite: 468 points and a face flag."""
    iris: Path
    """iris_landmark.tflite: 71 eye contour and 5 iris points."""


DETECTOR = PinnedFile(
    name="face_detection_short_range.tflite",
    wheel_path="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    size_bytes=229_714,
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
MESH = PinnedFile(
    name="face_landmark.tflite",
    wheel_path="mediapipe/modules/face_landmark/face_landmark.tflite",
    size_bytes=1_242_398,
    sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
IRIS = PinnedFile(
    name="iris_landmark.tflite",
    wheel_path="mediapipe/modules/iris_landmark/iris_landmark.tflite",
    size_bytes=2_640_568,
    sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
)
PINNED_FILES = (DETECTOR, MESH, IRIS)


def install_landmark_weights(cache_dir: Path | None = None, wheel: Path | None = None) -> list[Path]:
    """Put the three networks into `cache_dir/landmarks/` and return their paths (detector, mesh, iris).

    `cache_dir` defaults to the environment variable MIEN_CACHE, else `~/.cache/mien`. Files that are there and match
    their hash are kept; when all are, nothing is downloaded. Without `wheel`, pip downloads mediapipe 0.10.14's.
    Each file appears under its name only when it is complete and its hash is right.

    Raises InputError: no network or no pip, a file that is not that wheel, a wrong size or hash, an unwritable cache.
    """
    folder = _landmarks_folder(cache_dir)
    missing = [pinned for pinned in PINNED_FILES if not _is_installed(folder / pinned.name, pinned)]
    if missing and wheel is None:
        with tempfile.TemporaryDirectory(prefix="mien-landmarks-") as scratch:
            _extract(_download_wheel(Path(scratch)), missing, folder)
    elif missing and wheel is not None:
        _extract(wheel, missing, folder)
    return [folder / pinned.name for pinned in PINNED_FILES]


def landmark_weights(cache_dir: Path | None = None) -> LandmarkWeights:
    """Return the paths of the installed networks, hashes checked (a few milliseconds).

    Raises InputError that names `mien models install` when one is absent or is not the pinned file.
    """
    folder = _landmarks_folder(cache_dir)
    for pinned in PINNED_FILES:
        path = folder / pinned.name
        if not path.is_file():
            raise InputError(
                expected=f"the landmark network {path}", got="no such file", remedy=f"{_INSTALL_REMEDY} once"
            )
        if not _is_installed(path, pinned):
            raise InputError(
                expected=f"the landmark network {path} with SHA-256 {pinned.sha256}",
                got="a file with other content",
                remedy=f"{_INSTALL_REMEDY} to replace it",
            )
    return LandmarkWeights(detector=folder / DETECTOR.name, mesh=folder / MESH.name, iris=folder / IRIS.name)


def _landmarks_folder(cache_dir: Path | None) -> Path:
    if cache_dir is None:
        cache_dir = Path(os.environ.get("MIEN_CACHE") or "~/.cache/mien").expanduser()
    return cache_dir / "landmarks"


def _is_installed(path: Path, pinned: PinnedFile) -> bool:
    try:
        # The size first, so that a huge impostor is never read.
        return path.stat().st_size == pinned.size_bytes and _sha256(path.read_bytes()) == pinned.sha256
    except OSError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download_wheel(folder: Path) -> Path:
    # The wheel's own Python and platform are named, because only its data is wanted: any interpreter may run this.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_17_x86_64"]
    command += [WHEEL_REQUIREMENT, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("mediapipe-*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        complaint = done.stderr.strip().splitlines()
        raise InputError(
            expected=f"pip to download {WHEEL_REQUIREMENT}, which holds the landmark networks",
            got=complaint[-1] if complaint else f"exit code {done.returncode} and {len(wheels)} wheels",
            remedy="check the network and that pip is installed, or download the wheel elsewhere and pass its path",
        )
    return wheels[0]


def _extract(wheel: Path, wanted: list[PinnedFile], folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = [_read_pinned(archive, pinned, wheel) for pinned in wanted]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise InputError(
            expected=f"the wheel of {WHEEL_REQUIREMENT} at {wheel}",
            got=f"a file that cannot be read as one ({error})",
            remedy="download the wheel again",
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for pinned, content in zip(wanted, contents, strict=True):
            _write_atomically(folder / pinned.name, content)
    except OSError as error:
        raise InputError(
            expected=f"a cache folder that can be written at {folder}",
            got=str(error),
            remedy="free space, change its permissions, or set MIEN_CACHE to another folder",
        ) from error


def _read_pinned(archive: zipfile.ZipFile, pinned: PinnedFile, wheel: Path) -> bytes:
    remedy = f"pass the unchanged wheel of {WHEEL_REQUIREMENT}"
    expected = f"{pinned.wheel_path} in {wheel.name}, {pinned.size_bytes} bytes, SHA-256 {pinned.sha256}"
    try:
        entry = archive.getinfo(pinned.wheel_path)
    except KeyError as error:
        raise InputError(expected=expected, got="no such entry", remedy=remedy) from error
    if entry.file_size != pinned.size_bytes:
        raise InputError(expected=expected, got=f"an entry of {entry.file_size} bytes", remedy=remedy)
    with archive.open(entry) as stream:
        content = stream.read(pinned.size_bytes)
    if _sha256(content) != pinned.sha256:
        raise InputError(expected=expected, got=f"SHA-256 {_sha256(content)}", remedy=remedy)
    return content


def _write_atomically(path: Path, content: bytes) -> None:
    handle, scratch_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    scratch = Path(scratch_name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files only their owner can read; a shared cache is read by others.
        scratch.chmod(0o644)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
