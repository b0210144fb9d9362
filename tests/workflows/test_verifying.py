"""`mien verify` writes an ASC MHL list that ASC MHL's own tool accepts, and says whether the card may be wiped."""

from __future__ import annotations

import errno
import json
import os
import shutil
import xml.etree.ElementTree as etree
from dataclasses import replace
from pathlib import Path

import pytest
from ascmhl import commands
from click.testing import CliRunner

from capture import verification
from capture.ingest import IngestConfig
from capture.readers.image_folder import read_image_folder
from capture.readers.recording import Recording
from geometry.errors import InputError
from storage.places import place_of
from tests.capture.ingested import stored
from tests.capture.synthetic_recording import plain_script, write_recording
from workflows.ingesting import ingest
from workflows.verifying import Verification, verify


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording and its take, to be copied."""
    folder = tmp_path_factory.mktemp("verifying")
    write_recording(folder / "A001", plain_script(4))
    stored(read_image_folder(folder / "A001"), folder / "take.zarr")
    return folder


@pytest.fixture
def card(recorded: Path, tmp_path: Path) -> Path:
    shutil.copytree(recorded / "A001", tmp_path / "A001")
    shutil.copytree(recorded / "take.zarr", tmp_path / "take.zarr")
    return tmp_path / "A001"


def of(card: Path, mhl: Path | None = None) -> Verification:
    return verify(card, card.parent / "take.zarr", mhl)


def ascmhl_verify(*arguments: str | Path) -> int:
    """Exit code of the reference implementation's own command."""
    return CliRunner().invoke(commands.verify, [str(argument) for argument in arguments]).exit_code


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def read_only(monkeypatch: pytest.MonkeyPatch, card: Path) -> None:
    """The card refuses every write, as one with its switch at LOCK does; rights alone do not stop root."""
    mkdir = os.mkdir

    def refuse(path: str | Path, *arguments: int, **options: int) -> None:
        if Path(path).is_relative_to(card):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", refuse)


def test_safe_with_a_list_that_ascmhl_accepts(card: Path) -> None:
    done = of(card)
    assert done.exit_code == 0 and done.as_text().startswith(f"SAFE TO DELETE {card}: ")
    assert Path(done.mhl).parent == card / "ascmhl"
    assert ascmhl_verify(card) == 0
    assert ascmhl_verify("-dh", card) == 0  # the hashes of folders too
    flip(card / "left_rgb" / "000001.png")
    assert ascmhl_verify(card) == 11


def test_the_list_names_every_file_and_who_wrote_it(card: Path) -> None:
    tree = etree.parse(of(card).mhl)
    name = "{urn:ASC:MHL:v2.0}"
    listed = {path.text for path in tree.iterfind(f".//{name}hash/{name}path")}
    assert listed == {
        path.relative_to(card).as_posix()
        for path in card.rglob("*")
        if path.is_file() and "ascmhl" not in path.relative_to(card).parts
    }
    assert tree.findtext(f".//{name}tool") == "mien"
    assert all(entry.get("action") == "original" for entry in tree.iterfind(f".//{name}hash/{name}xxh64"))


def test_a_second_run_adds_a_generation_that_verifies_the_first(card: Path) -> None:
    first, second = of(card), of(card)
    assert second.report.safe and Path(second.mhl).name.startswith("0002_")
    assert Path(first.mhl).exists() and ascmhl_verify(card) == 0
    tree = etree.parse(second.mhl)
    actions = {entry.get("action") for entry in tree.iterfind(".//{urn:ASC:MHL:v2.0}hash/{urn:ASC:MHL:v2.0}xxh64")}
    assert actions == {"verified"}


def test_a_card_with_a_history_in_another_format_is_compared_with_it(card: Path) -> None:
    """As an offload tool made it with MD5 before the card reached us."""
    assert CliRunner().invoke(commands.create, [str(card), "-h", "md5"]).exit_code == 0
    done = of(card)
    assert done.report.safe and Path(done.mhl).name.startswith("0002_") and ascmhl_verify(card) == 0


def test_a_history_that_contradicts_the_card_makes_it_not_safe(card: Path, recorded: Path) -> None:
    """The take was made of a card that had changed since its first hash list."""
    picture = card / "left_rgb" / "000001.png"
    data = picture.read_bytes()
    picture.write_bytes(data + b" ")
    assert CliRunner().invoke(commands.create, [str(card), "-h", "xxh64"]).exit_code == 0
    picture.write_bytes(data)
    done = of(card)
    assert done.exit_code == 1 and {fault.kind for fault in done.report.faults} == {"history"}
    assert done.mhl == "" and "left_rgb/000001.png" in done.as_text()


def test_a_damaged_history_makes_it_not_safe(card: Path) -> None:
    flip(Path(of(card).mhl))
    done = of(card)
    assert done.exit_code == 1 and set(done.report.fault_counts) == {"history"} and done.mhl == ""


def test_nested_histories_are_continued(card: Path) -> None:
    assert CliRunner().invoke(commands.create, [str(card / "left_rgb"), "-h", "md5"]).exit_code == 0
    done = of(card)
    assert done.report.safe and Path(done.mhl).parent == card / "ascmhl"
    assert len(list((card / "left_rgb" / "ascmhl").glob("0002_*.mhl"))) == 1
    assert ascmhl_verify(card) == 0


def test_a_read_only_card_gets_its_list_beside_the_take(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_only(monkeypatch, card)
    done = of(card)
    assert done.report.safe and done.mhl == str(card.parent / "take.zarr.mhl")
    assert "Read-only file system" in done.mhl_note and not (card / "ascmhl").exists()
    assert ascmhl_verify("-pl", done.mhl, card) == 0
    assert of(card).mhl == str(card.parent / "take.zarr.2.mhl") and Path(done.mhl).exists()
    flip(card / "left_rgb" / "000001.png")
    assert ascmhl_verify("-pl", done.mhl, card) == 11


def test_a_list_goes_where_it_is_asked_to(card: Path) -> None:
    path = card.parent / "lists" / "A001.mhl"
    done = of(card, path)
    assert done.mhl == str(path) and not (card / "ascmhl").exists()
    assert ascmhl_verify("-pl", path, card) == 0
    (card / "new.txt").write_text("new")
    assert ascmhl_verify("-pl", path, card) == 21
    with pytest.raises(InputError, match="which exists"):
        of(card, path)
    with pytest.raises(InputError, match="outside of the recording"):
        of(card, card / "list.mhl")


def test_a_list_is_whole_or_not_there(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that fills up while the second list is written keeps its first, and nothing of the second."""
    of(card)
    before = {path.name: path.read_bytes() for path in (card / "ascmhl").iterdir()}

    def full(*arguments: object) -> None:
        (card / "ascmhl" / "ascmhl_chain.xml").write_bytes(b"<?xml")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ascmhl.generator.chain_xml_parser.write_chain", full)
    done = of(card)
    assert done.report.safe and done.mhl == str(card.parent / "take.zarr.mhl")
    assert {path.name: path.read_bytes() for path in (card / "ascmhl").iterdir()} == before


def test_macos_litter_does_not_spoil_the_list(card: Path) -> None:
    (card / "left_rgb" / "._000001.png").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    assert of(card).report.safe and ascmhl_verify(card) == 0


def test_no_list_of_what_is_not_the_recording(card: Path) -> None:
    (card / "stray.txt").write_text("x")
    done = of(card)
    assert done.exit_code == 1 and done.mhl == "" and not (card / "ascmhl").exists()
    lines = done.as_text().splitlines()
    assert lines[0].startswith(f"NOT SAFE {card}: 1 extra") and "stray.txt" in lines[1]
    assert "SAFE TO DELETE" not in done.as_text()


def test_a_damaged_take_gets_a_list_and_no_permission(card: Path) -> None:
    flip(next(path for path in (card.parent / "take.zarr/streams/left_rgb/frames/c").rglob("*") if path.is_file()))
    done = of(card)
    assert done.exit_code == 1 and done.mhl and ascmhl_verify(card) == 0


def test_the_report_is_json(card: Path) -> None:
    (card / b"odd \xff name".decode(errors="surrogateescape")).write_text("x")
    done = of(card)
    values = json.loads(json.dumps(done.to_json()))
    assert values["safe"] is False and values["verdict"] == "NOT SAFE" and values["fault_counts"] == {"extra": 1}
    assert "files" not in values and values["mhl"] == ""
    done.as_text().encode()


@pytest.mark.parametrize(("lossy", "safe"), [(False, True), (True, False)])
def test_what_the_ingest_makes_is_what_the_recording_holds(tmp_path: Path, lossy: bool, safe: bool) -> None:
    """Cameras' own JPEGs stay as they are in either case; the other colour camera's pictures do not."""
    source = write_recording(tmp_path / "A001", plain_script(20), jpeg=("right_rgb",))
    ingest(source, tmp_path / "take.zarr", IngestConfig(lossy_colour=lossy))
    report = verify(source, tmp_path / "take.zarr").report
    assert report.safe == safe and report.sources_whole
    assert report.lossy_streams == (("left_rgb",) if lossy else ())
    assert report.frame_count == 80


def in_one_file(card: Path, file: Path) -> Recording:
    """The recording as if all of it were in one file, as a Kinect's is."""
    recording = read_image_folder(card)
    return replace(recording, address=str(file), source_files=(file,))


def test_recordings_of_one_file_each_share_the_history_of_their_folder(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kinects"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mkv").write_bytes(name.encode() * 5000)
        stored(in_one_file(card, folder / f"{name}.mkv"), tmp_path / f"{name}.zarr")
    monkeypatch.setattr(verification, "open_recording", lambda source, reader: in_one_file(card, source))
    first = verify(folder / "a.mkv", tmp_path / "a.zarr")
    assert first.report.safe and "only a.mkv is meant" in first.as_text()
    assert ascmhl_verify(folder) == 21  # b.mkv is not in the list yet
    second = verify(folder / "b.mkv", tmp_path / "b.zarr")
    assert second.report.safe and Path(second.mhl).name.startswith("0002_kinects")
    assert ascmhl_verify(folder) == 0
    flip(folder / "b.mkv")
    assert ascmhl_verify(folder) == 11
    assert verify(folder / "a.mkv", tmp_path / "a.zarr").report.safe
    assert not verify(folder / "b.mkv", tmp_path / "b.zarr").report.safe
    with pytest.raises(InputError, match="is or holds none"):
        verify(folder / "b.mkv", tmp_path / "a.zarr")


def test_a_take_at_a_url_has_its_list_beside_it(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://verifying/{card.parent.name}/take.zarr"
    stored(read_image_folder(card), url)
    read_only(monkeypatch, card)
    done = verify(card, url)
    assert done.report.safe and done.mhl == f"{url}.mhl"
    (card.parent / "copy.mhl").write_bytes(place_of(url.rpartition("/")[0]).read("take.zarr.mhl"))
    assert ascmhl_verify("-pl", card.parent / "copy.mhl", card) == 0


def test_what_is_no_take_is_refused(card: Path) -> None:
    with pytest.raises(InputError, match="a take"):
        verify(card, card)
    with pytest.raises(InputError, match="does not exist"):
        verify(card.parent / "nowhere", card.parent / "take.zarr")
