"""`mien forget` removes all of a subject once it is confirmed, and never claims more than it knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capture.quality import check_take
from export.gltf import write_glb
from geometry.errors import InputError
from storage.provenance import Provenance
from storage.schema import ResultArray
from storage.subject_search import SubjectHoldings
from storage.take import Take
from tests.export.synthetic_head import synthetic_head
from tests.storage.synthetic_take import HEADER, write_take
from workflows.forgetting import Forgetting, forget, listed
from workflows.outputs import write_output
from workflows.quality_page import write_quality_page
from workflows.report import write_report

ME = "subject-7"


def take_of(subject_id: str, path: Path, source: str = "/cards/A001") -> Take:
    write_take(path, header=replace(HEADER, subject_id=subject_id, source=source))
    return Take.open(path)


def put(path: Path) -> None:
    path.write_text("vertices")


def agreed(root: Path, subject_id: str = ME) -> Forgetting:
    return forget(subject_id, root, lambda holdings: True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    take = take_of(ME, tmp_path / "takes" / "mine.zarr")
    take.results.write("fit", "default", {"x": ResultArray(np.zeros(2), ("row",))}, Provenance({}, {}))
    take_of("subject-8", tmp_path / "takes" / "theirs.zarr")
    return tmp_path / "takes"


def test_everything_is_removed_and_listed(root: Path) -> None:
    take = Take.open(root / "mine.zarr")
    made_from = take.results.read("fit").digest
    write_output(root / "out" / "surface.ply", made_from, put, of=take.header)
    done = agreed(root)
    assert (done.state, done.exit_code) == ("removed", 0)
    text = done.as_text()
    assert f"removed take {root / 'mine.zarr'}" in text and f"removed file {root / 'out' / 'surface.ply'}" in text
    assert "not mien's to remove: the recording /cards/A001" in text
    assert not (root / "mine.zarr").exists() and not (root / "out" / "surface.ply").exists()
    assert Take.open(root / "theirs.zarr").header.subject_id == "subject-8"
    values = json.loads(json.dumps(done.to_json()))
    assert [item["kind"] for item in values["removed"]] == ["file", "take"] and values["still_holding"] == [
        "/cards/A001"
    ]
    assert values["found"]["takes"][0]["results"] == ["fit/default"]


def test_nothing_is_removed_unless_confirmed(root: Path) -> None:
    asked: list[SubjectHoldings] = []

    def refuse(holdings: SubjectHoldings) -> bool:
        asked.append(holdings)
        return False

    done = forget(ME, root, refuse)
    assert (done.state, done.exit_code) == ("not confirmed", 2)
    assert listed(asked[0]) == [f"take {root / 'mine.zarr'}", "  with result fit/default"]
    assert all(line in done.as_text() for line in listed(asked[0]))
    assert Take.open(root / "mine.zarr").results.steps() == ["fit"]
    assert sorted(path.name for path in root.iterdir()) == ["mine.zarr", "theirs.zarr"]


def test_a_second_run_does_nothing_and_says_so(root: Path) -> None:
    agreed(root)
    log = (root / "forget-log.jsonl").read_bytes()
    done = forget(ME, root, lambda holdings: pytest.fail("nothing is left to confirm"))
    assert (done.state, done.exit_code) == ("nothing left", 0)
    assert "nothing is left" in done.as_text() and "forgotten before" in done.as_text()
    assert (root / "forget-log.jsonl").read_bytes() == log


def test_a_misspelt_subject_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"'Subject-7'.*there is subject-7"):
        agreed(root, "Subject-7")
    with pytest.raises(InputError, match="no take"):
        agreed(root, "subject-9")
    assert (root / "mine.zarr").exists() and not (root / "forget-log.jsonl").exists()


def test_what_cannot_be_told_keeps_it_from_claiming_completeness(root: Path) -> None:
    take_of("unknown", root / "unknown.zarr")
    done = agreed(root)
    assert (done.state, done.exit_code) == ("incomplete", 1)
    assert done.as_text().startswith("NOT COMPLETE") and str(root / "unknown.zarr") in done.as_text()
    assert not (root / "mine.zarr").exists() and (root / "unknown.zarr").exists()
    again = agreed(root)
    assert (again.state, again.exit_code) == ("incomplete", 1)


def test_an_export_of_old_is_given_its_subject_when_it_is_asked_for_again(tmp_path: Path, root: Path) -> None:
    """Files that were exported before ledgers named subjects are found once the same command has run again."""
    header = Take.open(root / "mine.zarr").header
    path = root / "out" / "surface.ply"
    assert write_output(path, "made from a result that was replaced", put)
    assert agreed(root).state == "incomplete" and path.exists()
    assert not write_output(path, "made from a result that was replaced", lambda place: pytest.fail("again"), of=header)
    assert agreed(root).state == "removed" and not path.exists()


def test_pages_and_heads_say_themselves_whom_they_show(root: Path) -> None:
    """However the writers change: a page or a GLB that was moved away from its ledger is found."""
    take, head = take_of(ME, root / "plain.zarr"), synthetic_head()
    write_report(take, root / "report.html", check_take(take))
    write_quality_page(take, check_take(take), root / "quality.html")
    write_glb(root / "head.glb", replace(head, metadata=replace(head.metadata, subject=ME)))
    write_glb(root / "theirs.glb", replace(head, metadata=replace(head.metadata, subject="subject-8")))
    done = agreed(root)
    assert {file.name for file in done.holdings.files} == {"report.html", "quality.html", "head.glb"}
    assert done.state == "removed" and (root / "theirs.glb").exists()
