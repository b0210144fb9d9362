"""Installing the landmark networks: pinned content only, whole files only, and messages that say what to do."""

import zipfile
from pathlib import Path

import pytest

from flame_fitting.landmarks import weights
from flame_fitting.landmarks.weights import PINNED_FILES, install_landmark_weights, landmark_weights
from geometry.errors import InputError


def _wheel(folder: Path, contents: dict[str, bytes]) -> Path:
    path = folder / "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def _installed_files(cache_dir: Path) -> list[Path]:
    return [path for path in cache_dir.rglob("*") if path.is_file()]


@pytest.fixture
def real_contents() -> dict[str, bytes]:
    try:
        landmark_weights()
    except InputError:
        pytest.skip("no landmark weights: run `mien models install`")
    folder = weights._landmarks_folder(None)
    return {pinned.wheel_path: (folder / pinned.name).read_bytes() for pinned in PINNED_FILES}


def test_installs_from_a_wheel_and_then_needs_it_no_more(tmp_path: Path, real_contents: dict[str, bytes]) -> None:
    cache = tmp_path / "cache"
    paths = install_landmark_weights(cache, wheel=_wheel(tmp_path, real_contents))
    assert [path.parent for path in paths] == [cache / "landmarks"] * 3
    assert [path.read_bytes() for path in paths] == list(real_contents.values())
    found = landmark_weights(cache)
    assert [found.detector, found.mesh, found.iris] == paths
    assert sorted(_installed_files(cache)) == sorted(paths)

    before = [path.stat().st_mtime_ns for path in paths]
    assert install_landmark_weights(cache, wheel=tmp_path / "gone.whl") == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_replaces_a_damaged_file_and_no_other(tmp_path: Path, real_contents: dict[str, bytes]) -> None:
    wheel = _wheel(tmp_path, real_contents)
    paths = install_landmark_weights(tmp_path, wheel=wheel)
    content = bytearray(paths[1].read_bytes())
    content[1000] ^= 1
    paths[1].write_bytes(content)
    with pytest.raises(InputError, match=r"face_landmark\.tflite.*other content.*mien models install"):
        landmark_weights(tmp_path)
    kept = paths[0].stat().st_mtime_ns
    install_landmark_weights(tmp_path, wheel=wheel)
    assert landmark_weights(tmp_path).mesh == paths[1]
    assert paths[0].stat().st_mtime_ns == kept


def test_absent_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mien models install"):
        landmark_weights(tmp_path)


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere"):
        landmark_weights()


def test_right_sizes_with_wrong_content_install_nothing(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, {pinned.wheel_path: bytes(pinned.size_bytes) for pinned in PINNED_FILES})
    with pytest.raises(InputError, match="got SHA-256"):
        install_landmark_weights(tmp_path / "cache", wheel=wheel)
    assert _installed_files(tmp_path / "cache") == []


def test_a_wrong_size_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = _wheel(tmp_path, {pinned.wheel_path: bytes(50_000_000) for pinned in PINNED_FILES})

    def read_nothing(*_: object) -> None:
        raise AssertionError("an entry was opened")

    monkeypatch.setattr(zipfile.ZipFile, "open", read_nothing)
    with pytest.raises(InputError, match="50000000 bytes"):
        install_landmark_weights(tmp_path / "cache", wheel=wheel)


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such entry"):
        install_landmark_weights(tmp_path / "cache", wheel=_wheel(tmp_path, {"other/module.py": b""}))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "broken.whl"
    wheel.write_bytes(content)
    with pytest.raises(InputError, match="download the wheel again"):
        install_landmark_weights(tmp_path / "cache", wheel=wheel)


def test_a_truncated_wheel_is_refused(tmp_path: Path, real_contents: dict[str, bytes]) -> None:
    wheel = _wheel(tmp_path, real_contents)
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="download the wheel again"):
        install_landmark_weights(tmp_path / "cache", wheel=wheel)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    wheel.write_bytes(damaged)
    with pytest.raises(InputError):
        install_landmark_weights(tmp_path / "cache", wheel=wheel)
    assert _installed_files(tmp_path / "cache") == []


def test_a_missing_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.whl"):
        install_landmark_weights(tmp_path, wheel=tmp_path / "gone.whl")


def test_without_an_index_the_message_tells_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="check the network"):
        install_landmark_weights(tmp_path)
    assert _installed_files(tmp_path) == []


def test_an_unwritable_cache_is_refused(tmp_path: Path, real_contents: dict[str, bytes]) -> None:
    (tmp_path / "landmarks").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="MIEN_CACHE"):
        install_landmark_weights(tmp_path, wheel=_wheel(tmp_path, real_contents))
