"""A watch makes a judged take of every finished recording, once, whatever stops it and whatever arrives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from capture.ingest import IngestConfig
from capture.quality import Check, QualityReport
from capture.source_identity import source_states as states
from geometry.errors import InputError
from storage.integrity import verify_take
from storage.take import Take
from tests.capture.synthetic_recording import Script, plain_script, write_recording
from tests.storage.synthetic_take import tree
from workflows.watch_journal import JOURNAL
from workflows.watching import WatchConfig, WatchOutcome, WatchTools, watch

ROOT = Path(__file__).resolve().parents[2]
ONCE = WatchConfig(settle_s=0.05, poll_s=0.01, rescan_s=0.0, once=True)
GOOD = QualityReport(())
BAD = QualityReport((Check("drops", "left_rgb", 0.5, "1", 0.05, "fail", "half of the frames are lost"),))


@dataclass
class Station:
    """A watched folder, its takes, and what the operator saw."""

    folder: Path
    takes: Path
    said: list[str] = field(default_factory=list)
    ingested: list[str] = field(default_factory=list)
    """Names of the recordings that an ingest was begun for."""
    verdict: QualityReport = GOOD
    ingest: Callable[..., Take] = WatchTools.usual().ingest

    def tools(self, **changes: Any) -> WatchTools:
        def ingest(source: Path, *arguments: Any, **options: Any) -> Take:
            self.ingested.append(source.name)
            return self.ingest(source, *arguments, **options)

        tools = WatchTools(ingest, lambda take: self.verdict, self.said.append, lambda seconds: time.sleep(0.01))
        return replace(tools, **changes)

    def once(self, **changes: Any) -> WatchOutcome:
        self.said.clear()
        self.ingested.clear()
        return watch(self.folder, self.takes, IngestConfig(), ONCE, self.tools(**changes))

    def record(self, name: str, frames: int = 3, seed: int = 0) -> Path:
        return write_recording(self.folder / name, Script(plain_script(frames).cameras, seed=seed))


@pytest.fixture
def station(tmp_path: Path) -> Station:
    (tmp_path / "cards").mkdir()
    return Station(tmp_path / "cards", tmp_path / "takes")


def test_each_recording_becomes_a_take_and_gets_one_line(station: Station) -> None:
    station.record("A001")
    station.record("A002", seed=1)
    outcome = station.once()
    assert outcome.verdicts == {"A001": "usable", "A002": "usable"} and outcome.exit_code == 0
    assert [line.split(":")[0:2] for line in station.said] == [["A001", " usable"], ["A002", " usable"]]
    assert [verify_take(station.takes / f"{name}.zarr") for name in ("A001", "A002")] == [[], []]


def test_the_usual_tools_judge_a_take(station: Station) -> None:
    station.record("A001", 12)
    outcome = station.once(check=WatchTools.usual().check)
    assert outcome.verdicts["A001"] in ("usable", "shoot again")


def test_a_restart_repeats_nothing_and_forgets_nothing(station: Station) -> None:
    station.record("A001")
    station.once()
    station.record("A002", seed=1)
    outcome = station.once()
    assert station.ingested == ["A002"] and len(station.said) == 1
    assert outcome.verdicts == {"A001": "usable", "A002": "usable"}
    before = tree(station.takes)
    assert station.once().exit_code == 0 and station.said == [] and tree(station.takes) == before


def test_a_bad_take_is_shot_again_and_a_bad_recording_is_no_recording(station: Station) -> None:
    station.record("A001")
    (station.folder / "readme.txt").write_text("hello")
    broken = station.record("B001", seed=1)
    (broken / "left_rgb" / "000001.png").write_bytes(b"no picture")
    (station.folder / "empty").mkdir()
    station.verdict = BAD
    outcome = station.once()
    assert outcome.verdicts == {
        "A001": "shoot again",
        "B001": "not a recording",
        "empty": "not a recording",
        "readme.txt": "not a recording",
    }
    assert outcome.exit_code == 1
    lines = {line.partition(":")[0]: line for line in station.said}
    assert "half of the frames are lost" in lines["A001"] and "000001.png" in lines["B001"]
    assert all("\n" not in line for line in station.said)
    shutil.rmtree(station.folder / "A001")
    assert station.once().exit_code == 2


def test_a_fault_of_a_reader_does_not_end_the_shoot(station: Station) -> None:
    station.record("A001")
    station.record("A002", seed=1)
    usual = station.ingest

    def faulty(source: Path, *arguments: Any, **options: Any) -> Take:
        if source.name == "A001":
            raise ZeroDivisionError("a reader's own fault")
        return usual(source, *arguments, **options)

    station.ingest = faulty
    outcome = station.once()
    assert outcome.verdicts == {"A001": "not a recording", "A002": "usable"}
    assert "a fault of mien itself" in station.said[0]


def test_a_half_copied_recording_is_taken_up_when_the_rest_has_come(station: Station, tmp_path: Path) -> None:
    whole = write_recording(tmp_path / "whole", plain_script(4))
    partly = station.folder / "A001"
    partly.mkdir()
    shutil.copytree(whole / "left_rgb", partly / "left_rgb")
    assert station.once().verdicts == {"A001": "not a recording"}
    shutil.copytree(whole, partly, dirs_exist_ok=True)
    (partly / "right_rgb" / "000003.png").unlink()
    assert station.once().verdicts == {"A001": "not a recording"} and "000003.png" in station.said[0]
    shutil.copy(whole / "right_rgb" / "000003.png", partly / "right_rgb")
    assert station.once().verdicts == {"A001": "usable"}


def test_more_of_a_recording_arrives_after_its_ingest_was_cut_off(station: Station) -> None:
    """An unfinished take of the shorter copy is begun anew, not taken for another's."""
    source = station.record("A001", 4)
    picture = source / "right_rgb" / "000003.png"
    data = picture.read_bytes()
    picture.write_bytes(data[:100])
    assert station.once().verdicts == {"A001": "not a recording"}
    picture.write_bytes(data)
    assert station.once().verdicts == {"A001": "usable"}
    assert verify_take(station.takes / "A001.zarr") == []


def test_it_waits_while_files_grow_or_have_temporary_names(station: Station) -> None:
    source = station.record("A001")
    picture = source / "left_rgb" / "000002.png"
    data, moments = picture.read_bytes(), iter(range(10**6))
    picture.rename(picture.with_name("000002.png.part"))

    def sleep(seconds: float) -> None:
        moment = next(moments)
        if moment < 20:
            assert station.ingested == []
            (source / "right_rgb" / "000000.png").touch()
        if moment == 20:
            picture.with_name("000002.png.part").unlink()
            picture.write_bytes(data)
        time.sleep(0.01)

    assert station.once(sleep=sleep).verdicts == {"A001": "usable"}
    assert next(moments) > 20


def test_a_recording_that_grows_while_it_is_read_is_read_again(station: Station) -> None:
    source = station.record("A001")
    usual, whole = station.ingest, (source / "left_rgb" / "000002.png").read_bytes()

    def growing(*arguments: Any, **options: Any) -> Take:
        if len(station.ingested) == 1:
            with patch("capture.ingest_finish.source_states", lambda recording: replace(states(recording), files={})):
                return usual(*arguments, **options)
        assert (source / "left_rgb" / "000002.png").read_bytes() == whole
        return usual(*arguments, **options)

    station.ingest = growing
    assert station.once().verdicts == {"A001": "usable"}
    assert station.said[0] == "A001: still changing; it is taken up again once it has settled"
    assert station.ingested == ["A001", "A001"]


@pytest.mark.parametrize("name", ["left_rgb/000002.png.part", "left_rgb/.000002.png.Xk3f9a", "rig.json~"])
def test_a_copy_that_never_ends_is_said_and_left(station: Station, name: str) -> None:
    source = station.record("A001")
    (source / name).write_bytes(b"half")
    outcome = station.once()
    assert outcome.verdicts == {"A001": "waiting"} and outcome.exit_code == 2 and station.ingested == []
    assert name in station.said[0]
    (source / name).unlink()
    assert station.once().verdicts == {"A001": "usable"}


def test_what_lies_there_and_is_no_arrival_is_left_alone(station: Station) -> None:
    source = station.record("A001")
    for name in (".hidden", "copying.part", "ascmhl"):
        shutil.copytree(source, station.folder / name)
    station.takes = station.folder / "takes"
    assert station.once().verdicts == {"A001": "usable"}
    assert station.once().verdicts == {"A001": "usable"} and station.said == []


def test_a_recording_that_changes_after_its_ingest_is_named_and_its_take_kept(station: Station) -> None:
    source = station.record("A001")
    station.once()
    before = tree(station.takes / "A001.zarr")
    shutil.rmtree(source)
    station.record("A001", seed=7)
    outcome = station.once()
    assert outcome.verdicts == {"A001": "changed"} and outcome.exit_code == 2 and station.ingested == []
    assert "changed since A001.zarr was made of it" in station.said[0]
    assert tree(station.takes / "A001.zarr") == before
    assert station.once().verdicts == {"A001": "changed"} and station.said == []


def test_new_times_hidden_files_and_hash_lists_are_no_change(station: Station) -> None:
    source = station.record("A001")
    station.once()
    (source / "ascmhl").mkdir()
    (source / "ascmhl" / "0001_A001.mhl").write_text("<hashlist/>")
    (source / ".DS_Store").write_bytes(b"")
    assert station.once().verdicts == {"A001": "usable"} and station.said == []
    os.utime(source / "rig.json", (1, 1))
    assert station.once().verdicts == {"A001": "usable"} and station.ingested == []


def test_a_renamed_recording_is_recognised(station: Station) -> None:
    station.record("A001")
    station.once()
    (station.folder / "A001").rename(station.folder / "scene-3")
    outcome = station.once()
    assert outcome.verdicts == {"scene-3": "repeated"} and outcome.exit_code == 0 and station.ingested == []
    assert "the same as A001, which is A001.zarr" in station.said[0]
    assert not (station.takes / "scene-3.zarr").exists()


def test_a_recording_renamed_during_its_ingest_is_ingested_under_its_new_name(station: Station) -> None:
    station.record("A001")
    usual = station.ingest

    def ingest(source: Path, *arguments: Any, **options: Any) -> Take:
        if source.name == "A001":
            source.rename(source.with_name("A009"))
        return usual(source, *arguments, **options)

    station.ingest = ingest
    outcome = station.once()
    assert outcome.verdicts == {"A009": "usable"}
    assert "A001: gone while it was ingested" in station.said[0]
    assert verify_take(station.takes / "A009.zarr") == []


def test_two_recordings_of_one_name_are_named_and_neither_overwritten(station: Station) -> None:
    station.record("A001")
    (station.folder / "A001.heic").write_bytes(b"not even a picture")
    outcome = station.once()
    assert outcome.verdicts == {"A001": "usable", "A001.heic": "name taken"} and outcome.exit_code == 2
    assert "rename this recording" in station.said[1]


def test_a_take_that_came_from_elsewhere_is_not_overwritten(station: Station, tmp_path: Path) -> None:
    other = write_recording(tmp_path / "other", Script(plain_script(3).cameras, seed=9))
    station.ingest(other, station.takes / "A001.zarr", IngestConfig())
    before = tree(station.takes / "A001.zarr")
    station.record("A001")
    assert station.once().verdicts == {"A001": "name taken"} and str(other) in station.said[0]
    assert tree(station.takes / "A001.zarr") == before


def test_names_that_are_no_text_are_handled_like_others(station: Station) -> None:
    name = b"A\xff1".decode(errors="surrogateescape")
    (station.folder / name).write_text("no recording")
    assert station.once().verdicts == {name: "not a recording"}
    station.said[0].encode()
    assert station.once().verdicts == {name: "not a recording"} and station.said == []


def test_a_full_disk_is_waited_out(station: Station) -> None:
    station.record("A001")
    usual = station.ingest

    def full(*arguments: Any, **options: Any) -> Take:
        raise InputError("room on the disk", "No space left on device", "free space there")

    station.ingest = full
    assert station.once().verdicts == {"A001": "waiting"} and "No space left" in station.said[0]
    station.ingest = usual
    assert station.once().verdicts == {"A001": "usable"}


def test_ctrl_c_stops_cleanly_and_a_restart_resumes_the_unfinished_one(station: Station) -> None:
    station.record("A001")
    usual = station.ingest

    def interrupted(*arguments: Any, **options: Any) -> Take:
        raise KeyboardInterrupt

    station.ingest = interrupted
    with pytest.raises(KeyboardInterrupt):
        station.once()
    assert "stopped" in station.said[-1]
    assert json.loads((station.takes / JOURNAL).read_text())["event"] == "started"
    station.ingest = usual
    assert station.once().verdicts == {"A001": "usable"}


def test_an_unfinished_ingest_whose_recording_is_gone_is_named(station: Station) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Take:
        raise KeyboardInterrupt

    station.record("A001")
    usual, station.ingest = station.ingest, interrupted
    with pytest.raises(KeyboardInterrupt):
        station.once()
    shutil.rmtree(station.folder / "A001")
    station.ingest = usual
    assert station.once().verdicts == {} and "A001: gone" in station.said[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from capture.ingest import IngestConfig
from workflows.watching import WatchConfig, WatchTools, watch
import storage.ingest_writer as w
write, written = w.TakeWriter.write_shard, []
def killing(self, *arguments, **options):
    write(self, *arguments, **options)
    written.append(1)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
w.TakeWriter.write_shard = killing
folder, takes = map(Path, sys.argv[1:])
watch(folder, takes, IngestConfig(), WatchConfig(0.05, 0.01, once=True), WatchTools.usual())
"""


def test_a_killed_watch_goes_on_and_ends_with_the_same_takes(station: Station, tmp_path: Path) -> None:
    station.record("A001", 40)
    station.record("A002", 3, seed=1)
    done = subprocess.run([sys.executable, "-c", KILLED, str(station.folder), str(station.takes)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    with (station.takes / JOURNAL).open("ab") as file:
        file.write(b'{"name": "A00')  # a line that the kill cut off
    assert station.once().verdicts == {"A001": "usable", "A002": "usable"}
    assert station.ingested == ["A001", "A002"]
    untouched = Station(station.folder, tmp_path / "untouched")
    untouched.once()
    for name in ("A001.zarr", "A002.zarr"):
        assert tree(station.takes / name) == tree(untouched.takes / name)


def test_recordings_that_land_while_it_watches_are_taken_up(station: Station) -> None:
    """Without --once it goes on; a folder that vanishes for a while is waited for."""
    moments = iter(range(10**6))

    def sleep(seconds: float) -> None:
        moment = next(moments)
        if moment == 1:
            station.record("A001")
        away = station.folder.with_name("away")
        if len(station.said) == 1 and not away.exists():
            station.folder.rename(away)
        elif len(station.said) == 2 and away.exists():
            away.rename(station.folder)
            station.record("A002", seed=1)
        elif len(station.said) >= 3:
            raise KeyboardInterrupt
        time.sleep(0.02)

    endless = replace(ONCE, once=False)
    with pytest.raises(KeyboardInterrupt):
        watch(station.folder, station.takes, IngestConfig(), endless, station.tools(sleep=sleep))
    assert station.ingested == ["A001", "A002"] and "cannot be read" in station.said[1]


def test_two_watches_cannot_fill_one_folder(station: Station) -> None:
    def second(*arguments: Any, **options: Any) -> Take:
        with pytest.raises(InputError, match="another watch"):
            watch(station.folder, station.takes, IngestConfig(), ONCE, station.tools())
        raise InputError("x", "y", "z")

    station.record("A001")
    station.ingest = second
    assert station.once().verdicts == {"A001": "not a recording"}


def test_a_folder_that_is_none_and_one_id_for_all_are_refused(station: Station) -> None:
    with pytest.raises(InputError, match="which is none"):
        watch(station.folder / "nowhere", station.takes, IngestConfig(), ONCE, station.tools())
    with pytest.raises(InputError, match="take id"):
        watch(station.folder, station.takes, IngestConfig(take_id="x"), ONCE, station.tools())
    assert not station.takes.exists()
