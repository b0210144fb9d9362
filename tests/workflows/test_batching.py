"""Many takes in one go: one head for each subject, nothing done twice, no take lost for another one's fault."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flame_fitting.fit import FitConfig
from flame_fitting.person import PersonConfig
from flame_fitting.segments import TrackConfig
from flame_fitting.stages import IDENTITY_STAGES, TRACKING_STAGES
from geometry.errors import InputError
from storage.take import Take
from tests.storage.synthetic_take import tree
from tests.workflows.fitted_takes import rig, write_landmarks, write_take
from workflows import batching, heads
from workflows.batch_manifest import ListedTake, read_manifest
from workflows.batching import BatchConfig, BatchOutcome, TakeOutcome, fit_batch
from workflows.cli import main
from workflows.heads import HeadConfig, find_person, fit_heads

FRAMES = 2
QUICK = FitConfig(
    PersonConfig(key_frames=2, rounds=1, stages=tuple(replace(stage, steps=1) for stage in IDENTITY_STAGES[:2])),
    TrackConfig(stages=tuple(replace(stage, steps=1) for stage in TRACKING_STAGES[:2]), coupled_steps=1),
)
ALONE = BatchConfig(HeadConfig(fit=QUICK))
SHARED = replace(ALONE, share_identity=True)
FOLLOWED, NO_FACE = 3, 1


@pytest.fixture(scope="module", autouse=True)
def quick_steps() -> Iterator[None]:
    """The takes are grey and hold exact landmarks: none has to be found, and a coarse texture shows their colour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "find_landmarks", lambda take, progress, config: take.results.read("landmarks"))
        patch.setattr(heads, "bake_texture", partial(heads.bake_texture, size=128))
        yield


def _take(path: Path, subject: str, grey: int = 90, views: int = 3, landmarks: bool = True) -> Take:
    """A take in which `views` of its three cameras see the face."""
    take = write_take(path, rig(depth=0), FRAMES, subject=subject, grey=grey)
    if landmarks:
        write_landmarks(take, np.tile(np.where(np.arange(3) < views, FOLLOWED, NO_FACE), (FRAMES, 1)))
    return take


def _listed(*takes: Take) -> tuple[ListedTake, ...]:
    return tuple(ListedTake(str(take.path)) for take in takes)


def _bytes(take: Take, step: str, array: str) -> dict[str, bytes]:
    """Every file of a stored array."""
    return tree(Path(take.path) / "results" / step / "default" / array)


def _states(outcome: BatchOutcome) -> list[str]:
    return [each.state for each in outcome.takes]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Take], BatchOutcome]:
    """Takes of one subject, one of another between them; the second of the first subject shows most."""
    folder = tmp_path_factory.mktemp("shared")
    takes = [
        _take(folder / "a.zarr", "subject-1", grey=60, views=2),
        _take(folder / "other.zarr", "subject-2", grey=70, views=2),
        _take(folder / "b.zarr", "subject-1", grey=90, views=3),
        _take(folder / "c.zarr", "subject-1", grey=120, views=2),
    ]
    return takes, fit_batch(_listed(*takes), SHARED)


def test_the_takes_of_a_subject_have_one_head_and_one_texture_to_the_last_byte(shared):
    (a, other, b, c), outcome = shared
    assert _states(outcome) == ["fitted"] * 4 and outcome.exit_code == 0
    for array in ("rest_vertices", "identity", "expression_shapes", "base_colour", "texel_seen"):
        assert _bytes(a, "fit", array) == _bytes(b, "fit", array) == _bytes(c, "fit", array)
        assert any(_bytes(a, "fit", array).values())
    seen = np.asarray(b.results.read("fit")["texel_seen"])
    colour = np.asarray(b.results.read("fit")["base_colour"])
    assert seen.any() and np.abs(colour[seen].astype(int) - 90).max() <= 3, "the colour of the take that shows most"
    assert _bytes(other, "fit", "base_colour") != _bytes(a, "fit", "base_colour")
    assert _bytes(other, "fit", "rest_vertices") != _bytes(a, "fit", "rest_vertices")


def test_the_person_is_learnt_from_the_take_that_shows_most(shared):
    (_, _, b, _), outcome = shared
    assert [each.identity_from for each in outcome.takes] == [str(b.path), None, None, str(b.path)]
    assert [each.subject_id for each in outcome.takes] == ["subject-1", "subject-2", "subject-1", "subject-1"]


def test_poses_and_curves_stay_each_takes_own(shared):
    (a, _, b, _), _ = shared
    assert not np.array_equal(a.results.read("fit")["rotation"][...], b.results.read("fit")["rotation"][...])


def test_a_finished_batch_changes_nothing(shared):
    takes, _ = shared
    before = [tree(Path(take.path)) for take in takes]
    for config in (SHARED, replace(SHARED, overwrite=True)):
        assert _states(fit_batch(_listed(*takes), config)) == ["already there"] * 4
        assert [tree(Path(take.path)) for take in takes] == before


def test_a_take_that_comes_later_gets_the_head_that_is_there(shared, tmp_path):
    takes, _ = shared
    late = _take(tmp_path / "late.zarr", "subject-1", grey=30, views=3)
    outcome = fit_batch(_listed(late, *takes), SHARED)
    assert _states(outcome) == ["fitted", *["already there"] * 4]
    assert _bytes(late, "fit", "rest_vertices") == _bytes(takes[0], "fit", "rest_vertices")
    assert _bytes(late, "fit", "base_colour") == _bytes(takes[0], "fit", "base_colour")


def test_unknown_subjects_are_never_taken_for_one(tmp_path, monkeypatch):
    subjects = {"a": "unknown", "b": "", "c": "unknown", "d": ""}
    takes = [_take(tmp_path / f"{name}.zarr", subject) for name, subject in subjects.items()]
    sources = {}

    def fitted(batch: object, each: ListedTake, source: ListedTake | None) -> TakeOutcome:
        sources[each.address] = source
        return TakeOutcome(each.address, "fitted")

    monkeypatch.setattr(batching._Batch, "_fitted", fitted)
    assert _states(fit_batch(_listed(*takes), SHARED)) == ["fitted"] * 4
    assert sources == {str(take.path): None for take in takes}


def test_takes_that_fail_are_named_and_the_others_are_fitted(tmp_path):
    good = _take(tmp_path / "good.zarr", "subject-1")
    faceless = _take(tmp_path / "faceless.zarr", "subject-3", views=0)
    bare = _take(tmp_path / "bare.zarr", "subject-4", landmarks=False)
    listed = (*_listed(faceless, bare), ListedTake(str(tmp_path / "absent.zarr")), *_listed(good))
    for config in (ALONE, SHARED):
        outcome = fit_batch(listed, config)
        assert _states(outcome) == [*["failed"] * 3, "fitted" if config == ALONE else "already there"]
        assert outcome.exit_code == 1
        text = outcome.as_text()
        assert all(f"FAILED: {tmp_path / name}.zarr" in text for name in ("faceless", "bare", "absent"))
        assert "1 of 4 takes are fitted" in text
        assert "a face in at least one colour picture" in outcome.takes[0].problem


def test_a_fault_in_one_take_ends_no_other(tmp_path, monkeypatch):
    takes = [_take(tmp_path / f"{name}.zarr", f"subject-{name}") for name in "ab"]

    def fitted(batch: object, each: ListedTake, source: ListedTake | None) -> TakeOutcome:
        if each.address.endswith("a.zarr"):
            raise RuntimeError("a fault")
        return TakeOutcome(each.address, "fitted")

    monkeypatch.setattr(batching._Batch, "_fitted", fitted)
    outcome = fit_batch(_listed(*takes), ALONE)
    assert _states(outcome) == ["failed", "fitted"]
    details = Path(outcome.takes[0].problem.rsplit(" ", 1)[1])
    assert "RuntimeError: a fault" in details.read_text()
    details.unlink()


def test_where_the_best_take_teaches_nobody_the_next_best_does(tmp_path, monkeypatch):
    best, second = _take(tmp_path / "a.zarr", "subject-1"), _take(tmp_path / "b.zarr", "subject-1", views=2)

    def find(take: Take, *rest: object) -> object:
        if take.path == str(best.path) and rest[2] is None:
            raise OSError(28, "No space left on device")
        return find_person(take, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(batching, "find_person", find)
    outcome = fit_batch(_listed(best, second), SHARED)
    assert _states(outcome) == ["failed", "fitted"] and "No space left" in outcome.takes[0].problem


def test_a_head_that_may_not_be_replaced_keeps_the_others_waiting(shared, tmp_path):
    """Else the subject would have two."""
    takes, _ = shared
    other = replace(SHARED, head=replace(SHARED.head, fit=replace(QUICK, person=replace(QUICK.person, key_frames=1))))
    late = _take(tmp_path / "late.zarr", "subject-1", views=1)
    outcome = fit_batch(_listed(late, takes[2]), other)
    assert _states(outcome) == ["failed", "failed"]
    assert "--overwrite" in outcome.takes[1].problem
    assert f"{takes[2].path}, which failed" in outcome.takes[0].problem
    assert late.results.steps() == ["landmarks"]


def test_an_interrupt_ends_the_batch_and_the_next_run_goes_on(tmp_path, monkeypatch):
    """Of takes that show as much, the first in the list is the one whose head both have."""
    takes = [_take(tmp_path / f"{name}.zarr", "subject-1", grey) for name, grey in (("z", 60), ("y", 120))]

    def interrupted(take: Take, *rest: object, **options: object) -> object:
        if str(take.path).endswith("y.zarr"):
            raise KeyboardInterrupt
        return fit_heads(take, *rest, **options)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batching, "fit_heads", interrupted)
        fit_batch(_listed(*takes), SHARED)
    outcome = fit_batch(_listed(*takes), SHARED)
    assert _states(outcome) == ["already there", "fitted"]
    assert [each.identity_from for each in outcome.takes] == [None, str(takes[0].path)]
    assert _bytes(takes[0], "fit", "base_colour") == _bytes(takes[1], "fit", "base_colour")


def test_takes_fitted_apart_are_shared_only_when_that_may_replace_them(tmp_path):
    takes = [_take(tmp_path / f"{name}.zarr", "subject-1", grey) for name, grey in (("a", 60), ("b", 120))]
    fit_batch(_listed(*takes), ALONE)
    outcome = fit_batch(_listed(*takes), SHARED)
    assert _states(outcome) == ["already there", "failed"] and "--overwrite" in outcome.takes[1].problem
    assert _states(fit_batch(_listed(*takes), replace(SHARED, overwrite=True))) == ["already there", "fitted"]
    assert _bytes(takes[0], "fit", "rest_vertices") == _bytes(takes[1], "fit", "rest_vertices")
    assert _bytes(takes[0], "fit", "base_colour") == _bytes(takes[1], "fit", "base_colour")


class TestIdentityFrom:
    """What `mien fit TAKE --identity-from TAKE` refuses."""

    def refused(self, take: Take, donor: Take, words: str) -> None:
        with pytest.raises(InputError, match=words):
            find_person(take, ALONE.head, lambda done, total: None, donor)

    def test_another_subject(self, shared):
        (_, other, donor, _), _ = shared
        self.refused(other, donor, "subject-2")

    def test_the_take_itself(self, shared):
        (_, _, donor, _), _ = shared
        self.refused(donor, Take.open(donor.path), "the same one")

    def test_a_take_that_was_not_fitted(self, shared, tmp_path):
        (_, _, take, _), _ = shared
        self.refused(take, _take(tmp_path / "x.zarr", "subject-1"), "run `mien fit .*x.zarr` first")

    def test_a_fit_of_an_earlier_person(self, shared, tmp_path):
        (take, _, donor, _), _ = shared
        shutil.copytree(donor.path, tmp_path / "donor.zarr")
        donor = Take.open(tmp_path / "donor.zarr")
        other = replace(ALONE.head, fit=replace(QUICK, person=replace(QUICK.person, key_frames=1)))
        find_person(donor, other, lambda done, total: None, overwrite=True)
        self.refused(take, donor, "earlier person")


def test_a_text_manifest_holds_a_take_a_line(tmp_path):
    (tmp_path / "day 1").mkdir()
    manifest = tmp_path / "takes.txt"
    manifest.write_text(
        "\ufeff# the first day\n\nday 1/a.zarr   # twice the same smile\n\t\n../b#2.zarr\n/c.zarr\ns3://studio/d.zarr/\n"
    )
    up = os.path.normpath(tmp_path.parent / "b#2.zarr")
    expected = [str(tmp_path / "day 1" / "a.zarr"), up, "/c.zarr", "s3://studio/d.zarr"]
    assert read_manifest(manifest) == tuple(ListedTake(address) for address in expected)


def test_a_csv_manifest_may_say_whose_face_it_is(tmp_path):
    manifest = tmp_path / "shots.csv"
    manifest.write_text('Take,note,face\n"a,1.zarr",the good one,\nb.zarr,,1\n,only a note,\nc.zarr\n')
    assert read_manifest(manifest) == (
        ListedTake(str(tmp_path / "a,1.zarr")),
        ListedTake(str(tmp_path / "b.zarr"), 1),
        ListedTake(str(tmp_path / "c.zarr")),
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"# nothing\n", "at least one take"),
        ("twice.txt", b"a.zarr\n./a.zarr\n", "lines 1 and 2"),
        ("bytes.txt", b"\xff\xfe\x00a", "UTF-8"),
        ("zero.txt", b"a\0.zarr", "zero bytes"),
        ("bell.txt", b"a\x07.zarr", "line 1"),
        ("large.txt", b"a.zarr\n" * 700_000, "more than 4 MB"),
        ("nothing.csv", b"", "column `take`"),
        ("other.csv", b"path\na.zarr\n", "column `take`"),
        ("double.csv", b"take,take\na.zarr,b.zarr\n", "column `take`"),
        ("face.csv", b"take,face\na.zarr,-1\n", "whole number"),
        ("wide.csv", b'take\n"' + b"a" * 200_000 + b'"\n', "CSV"),
    ],
)
def test_what_is_no_list_of_takes_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_manifest(tmp_path / name)


def test_the_command_answers_in_json_and_exits_with_one(tmp_path, capfd):
    manifest = tmp_path / "takes.txt"
    manifest.write_text("absent.zarr\n")
    with pytest.raises(SystemExit) as ended:
        main(["batch", str(manifest), "--share-identity", "--json"])
    assert ended.value.code == 1
    answer = json.loads(capfd.readouterr().out)
    assert (answer["fitted"], answer["already_there"], answer["failed"]) == (0, 0, 1)
    assert (
        answer["takes"][0]["take"] == str(tmp_path / "absent.zarr") and "mien ingest" in answer["takes"][0]["problem"]
    )


@pytest.mark.parametrize("manifest", ["", "absent.txt"])
def test_a_manifest_that_is_not_there_is_bad_input(tmp_path, capfd, manifest):
    with pytest.raises(SystemExit) as ended:
        main(["batch", str(tmp_path / manifest)])
    assert ended.value.code == 2 and "Traceback" not in capfd.readouterr().err
