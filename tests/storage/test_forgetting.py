"""A subject's takes and derived results are removed, nothing else is, and what nobody can tell is said."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geometry.errors import InputError
from storage.forgetting import FORGET_LOG, forget_holdings, forgotten_before
from storage.output_ledger import LEDGER, OutputEntry, ledger_bytes, read_ledger
from storage.places import LocalPlace, Place, place_of
from storage.provenance import Provenance, digest_of_file
from storage.schema import ResultArray
from storage.subject_search import SubjectHoldings, find_subject
from storage.take import Take
from storage.take_header import TakeRoot
from tests.storage.synthetic_take import HEADER, Killed, write_take

ME, OTHER = "subject-7", "subject-8"
ARRAYS = {"values": ResultArray(np.arange(4.0), ("row",))}


def take_of(subject_id: str, path: str | Path, **header: str) -> Take:
    """A take of a subject, without results."""
    write_take(path, header=replace(HEADER, subject_id=subject_id, **header))
    return Take.open(path)


def result(take: Take, step: str, inputs: dict[str, str], run: str = "default") -> str:
    """A result in a take, and its digest."""
    take.results.write(step, run, ARRAYS, Provenance({}, inputs))
    return take.results.read(step, run).digest


def export(folder: Path, name: str, made_from: str, subject_id: str = "", data: bytes = b"bytes") -> Path:
    """A file with its entry in the folder's ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    ledger = read_ledger(LocalPlace(folder)) | {name: OutputEntry(made_from, digest_of_file(folder / name), subject_id)}
    (folder / LEDGER).write_bytes(ledger_bytes(ledger))
    return folder / name


def glb(subject_id: str) -> bytes:
    """The start of a GLB that names its subject."""
    document = json.dumps({"asset": {"version": "2.0", "extras": {"subject": subject_id, "tool_version": "0.1"}}})
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(document), len(document), 0x4E4F534A) + document.encode()


def forget(root: Path | str, subject_id: str = ME) -> SubjectHoldings:
    """Remove all that is found, and what was found."""
    found = find_subject(subject_id, place_of(root))
    outcomes = forget_holdings(found, lambda removal: None)
    assert [outcome.problem for outcome in outcomes] == [""] * len(outcomes)
    return found


def everything(root: Path) -> dict[str, bytes]:
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name != FORGET_LOG}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "studio"


def test_takes_at_any_depth_go_and_others_stay_byte_for_byte(root: Path) -> None:
    mine = take_of(ME, root / "day1" / "a" / "take.zarr", source="/cards/1")
    result(mine, "fit", {"take": mine.digest})
    take_of(ME, root / "take2.zarr", source="/cards/2")
    take_of(OTHER, root / "day1" / "b.zarr")
    (root / "day1" / "notes.txt").write_text(ME)
    before = everything(root)
    found = forget(root)
    assert sorted(take.address for take in found.takes) == [str(root / "day1/a/take.zarr"), str(root / "take2.zarr")]
    assert [take.results for take in found.takes if take.address.endswith("a/take.zarr")] == [("fit/default",)]
    assert sorted(take.source for take in found.takes) == ["/cards/1", "/cards/2"]
    assert everything(root) == {name: data for name, data in before.items() if name.startswith(("day1/b", "day1/n"))}
    assert not (root / "take2.zarr").exists()


@pytest.mark.parametrize("other", ["subject-77", "Subject-7", "subject-7 ", "subject_7", "ubject-7"])
def test_ids_must_match_exactly(root: Path, other: str) -> None:
    take_of(other, root / "other.zarr")
    take_of(ME, root / "mine.zarr")
    found = forget(root)
    assert [Path(take.address).name for take in found.takes] == ["mine.zarr"]
    assert (root / "other.zarr" / "zarr.json").exists()
    assert (other in found.other_spellings) == (other not in ("subject-77", "ubject-7"))


def test_results_in_other_takes_go_with_what_was_made_from_them(root: Path) -> None:
    mine, other = take_of(ME, root / "mine.zarr"), take_of(OTHER, root / "other.zarr")
    identity = result(mine, "fit", {"take": mine.digest})
    borrowed = result(other, "fit", {"take": other.digest, "identity": identity})
    result(other, "register", {"fit": borrowed})
    result(other, "surface", {"take": other.digest})
    found = forget(root)
    assert {(r.step, r.run) for r in found.results} == {("fit", "default"), ("register", "default")}
    assert Take.open(root / "other.zarr").results.steps() == ["surface"]


def test_exports_are_found_by_digest_by_subject_and_by_what_they_say(root: Path) -> None:
    mine, other = take_of(ME, root / "mine.zarr"), take_of(OTHER, root / "other.zarr")
    fit, theirs = result(mine, "fit", {}), result(other, "fit", {"take": other.digest})
    gone = [
        export(root / "out", "surface.ply", fit),
        export(root / "out", "old.ply", "made from a result that was replaced", ME),
        export(root / "elsewhere", "report.html", f"{mine.digest} {fit}"),
    ]
    (root / "moved.glb").write_bytes(glb(ME))
    page = '<p class="brand">mien · take report</p><h1>x</h1><p class="muted">Subject {}</p>'
    (root / "moved.html").write_text(page.format(ME))
    gone += [root / "moved.glb", root / "moved.html"]
    kept = [
        export(root / "out", "theirs.ply", theirs),
        export(root / "out", "theirs_too.ply", "replaced since", OTHER),
        root / "their.glb",
        root / "their.html",
        root / "scan.ply",
        root / "page.html",
        root / "chair.glb",
    ]
    kept[2].write_bytes(glb(OTHER))
    kept[3].write_text(page.format(OTHER))
    kept[4].write_bytes(b"ply\nformat ascii 1.0\n")
    kept[5].write_text(f"Subject {ME}")
    kept[6].write_bytes(b"glTF")
    found = forget(root)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert found.cannot_tell == []
    assert set(read_ledger(LocalPlace(root / "out"))) == {"theirs.ply", "theirs_too.ply"}
    assert not (root / "elsewhere" / LEDGER).exists()


def test_what_nobody_can_tell_is_named_and_left(root: Path) -> None:
    take_of("unknown", root / "unknown.zarr")
    mine = take_of(ME, root / "mine.zarr")
    fit = result(mine, "fit", {})
    with pytest.raises(Killed):
        write_take(root / "unfinished.zarr", 5, header=replace(HEADER, subject_id=ME))
    for name in ("damaged.zarr", "rootless.zarr"):
        shutil.copytree(root / "unknown.zarr", root / name)
    (root / "damaged.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
    (root / "rootless.zarr" / "zarr.json").unlink()
    edited = export(root, "edited.ply", fit)
    edited.write_bytes(b"changed by hand")
    export(root, "orphan.ply", "a result that is no longer there")
    (root / "stray.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\ncomment metres, right-handed\n")
    outside = root.parent / "outside"
    take_of(ME, outside / "take.zarr")
    (root / "linked").symlink_to(outside)
    (root / "inside").symlink_to(root / "unknown.zarr")
    found = forget(root)
    names = {Path(address).name for address, _ in found.cannot_tell}
    expected = {"unknown.zarr", "unfinished.zarr", "damaged.zarr", "rootless.zarr", "linked"}
    assert names == expected | {"edited.ply", "orphan.ply", "stray.ply"}
    assert all((root / name).exists() for name in names)
    assert not (root / "mine.zarr").exists() and (outside / "take.zarr" / "zarr.json").exists()


def test_an_unfinished_take_of_another_subject_is_theirs(root: Path) -> None:
    take_of(ME, root / "mine.zarr")
    with pytest.raises(Killed):
        write_take(root / "theirs.zarr", 5, header=replace(HEADER, subject_id=OTHER))
    assert find_subject(ME, place_of(root)).cannot_tell == []


def test_a_take_whose_content_is_being_replaced_may_be_anybodys(root: Path) -> None:
    take = take_of(OTHER, root / "theirs.zarr")
    replace(take.root, state="clearing").write(take.place)
    assert [Path(a).name for a, _ in find_subject(ME, place_of(root)).cannot_tell] == ["theirs.zarr"]


def test_a_killed_removal_is_found_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_of(ME, root / "mine.zarr")
    remove, removed = LocalPlace.remove, []

    def killed(self: LocalPlace, key: str) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(key)
        remove(self, key)

    monkeypatch.setattr(LocalPlace, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        forget(root)
    monkeypatch.undo()
    assert forgotten_before(ME, place_of(root)) == []
    assert [Path(take.address).name for take in forget(root).takes] == ["mine.zarr"]
    assert everything(root) == {}
    assert len(forgotten_before(ME, place_of(root))) == 1


def test_what_cannot_be_removed_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_of(ME, root / "a.zarr")
    take_of(ME, root / "b.zarr")
    remove = LocalPlace.remove

    def refuse(self: LocalPlace, key: str) -> None:
        if self.root.name == "a.zarr":
            raise InputError("a place that can be written", "Permission denied", "correct its permissions")
        remove(self, key)

    monkeypatch.setattr(LocalPlace, "remove", refuse)
    outcomes = forget_holdings(find_subject(ME, place_of(root)), lambda removal: None)
    assert {Path(o.address).name: "Permission denied" in o.problem for o in outcomes} == {
        "a.zarr": True,
        "b.zarr": False,
    }
    assert not (root / "b.zarr").exists()
    assert forgotten_before(ME, place_of(root)) == []


def test_the_log_says_what_and_when_and_names_no_path(root: Path) -> None:
    secret = "Jane Doe"
    mine = take_of(ME, root / secret / "take.zarr", take_id=secret, source=f"/cards/{secret}", source_digest="d7")
    export(root / secret, f"{secret}.ply", result(mine, "fit", {}))
    forget(root)
    text = (root / FORGET_LOG).read_text()
    begun, done = map(json.loads, text.splitlines())
    assert (begun["event"], done["event"], done["subject_id"]) == ("removing", "removed", ME)
    assert done["takes"] == ["d7"] and done["results_in_them"] == ["fit/default"] and done["files"] == [".ply"]
    assert secret not in text and str(root) not in text


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_url_is_searched_like_a_folder(root: Path, kind: str, request: pytest.FixtureRequest) -> None:
    bucket = "memory://forgetting" if kind == "memory" else request.getfixturevalue("bucket")
    url = f"{bucket}/{root.parent.name}"
    take_of(ME, f"{url}/day1/mine.zarr")
    take_of(OTHER, f"{url}/day1/theirs.zarr")
    found = forget(url)
    assert [take.address for take in found.takes] == [f"{url}/day1/mine.zarr"]
    place: Place = place_of(url)
    assert not any("mine.zarr" in key for key in list(place.keys()))
    assert TakeRoot.read(place_of(f"{url}/day1/theirs.zarr")).header.subject_id == OTHER
    assert len(forgotten_before(ME, place)) == 1


def test_recordings_of_the_subject_are_named(root: Path) -> None:
    take_of(ME, root / "mine.zarr")
    (root / "recording").mkdir()
    (root / "recording" / "recording.json").write_text(json.dumps({"subject_id": ME}))
    (root / "theirs").mkdir()
    (root / "theirs" / "recording.json").write_text(json.dumps({"subject_id": OTHER}))
    found = forget(root)
    assert found.recordings == [str(root / "recording")]
    assert (root / "recording" / "recording.json").exists()


@pytest.mark.parametrize("subject_id", ["", "unknown", "unnamed"])
def test_nobody_in_particular_cannot_be_forgotten(root: Path, subject_id: str) -> None:
    take_of("unknown", root / "take.zarr")
    with pytest.raises(InputError, match="the id of a subject"):
        find_subject(subject_id, place_of(root))


def test_a_root_that_is_nothing_or_a_take_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        find_subject(ME, place_of(root))
    take_of(ME, root / "take.zarr")
    with pytest.raises(InputError, match="name the folder"):
        find_subject(ME, place_of(root / "take.zarr"))
