"""Tasks run once each, never more at once than there are workers, and nothing runs on after an error or interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geometry.errors import InputError
from workflows.scheduling import run_tasks, worker_count

TASKS = tuple(range(40))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from distributed import LocalCluster

    options = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:  # pyright: ignore[reportArgumentType]
        yield cluster.scheduler_address  # pyright: ignore[reportAttributeAccessIssue]


def note(folder: Path, task: int, must_stop: Callable[[], bool]) -> int:
    """Leaves a file, in any process; tasks over 1000 fail."""
    (folder / str(task)).write_text("")
    if task > 1000:
        raise InputError("a small number", str(task), "choose another")
    time.sleep(0.005)
    return task * task


@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_results_of_all_tasks_come_as_they_finish(
    scheduler: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("cluster") if scheduler == "cluster" else scheduler
    results: list[int] = []
    where: set[int] = set()
    run_tasks(
        note, tmp_path, TASKS, address, lambda value: (results.append(value), where.add(threading.get_ident()))[0]
    )
    assert sorted(results) == [task * task for task in TASKS] and where == {threading.get_ident()}
    assert {path.name for path in tmp_path.iterdir()} == {str(task) for task in TASKS}
    run_tasks(note, tmp_path, (), address)


@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_the_first_error_ends_it_and_is_raised_as_itself(
    scheduler: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("cluster") if scheduler == "cluster" else scheduler
    with pytest.raises(InputError, match="a small number; got 1001") as caught:
        run_tasks(note, tmp_path, (1, 2, 1001, *range(3, 200)), address)
    assert caught.value.remedy == "choose another"
    begun = len(list(tmp_path.iterdir()))
    assert begun < 100
    time.sleep(0.1)
    assert len(list(tmp_path.iterdir())) == begun


def test_no_more_tasks_run_at_once_than_there_are_cores() -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def count(shared: None, task: int, must_stop: Callable[[], bool]) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    run_tasks(count, None, TASKS)
    assert 1 <= most[0] <= worker_count()


def test_tasks_begin_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.scheduling.worker_count", lambda: 1)
    begun: list[int] = []
    run_tasks(lambda shared, task, must_stop: begun.append(task), None, TASKS)
    assert begun == list(TASKS)


def test_an_interrupt_asks_running_tasks_to_stop_and_waits_for_them() -> None:
    ended: list[int] = []

    def wait_for_it(shared: None, task: int, must_stop: Callable[[], bool]) -> int:
        while task and not must_stop() and time.monotonic() < started + 20:
            time.sleep(0.002)
        ended.append(task)
        return task

    def interrupt(result: int) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tasks(wait_for_it, None, TASKS, "threads", interrupt)
    assert time.monotonic() - started < 5
    finished = len(ended)
    assert finished <= 2 * worker_count() + 1
    time.sleep(0.05)
    assert len(ended) == finished and threading.active_count() < 50


@pytest.mark.parametrize(
    ("scheduler", "words"), [("thread", "threads, processes, or tcp"), ("tcp://127.0.0.1:9", "answer")]
)
def test_a_scheduler_that_is_none_is_refused(scheduler: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.scheduling.CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=words):
        run_tasks(note, Path(), TASKS, scheduler)
