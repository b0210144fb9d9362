"""Many independent tasks on Dask, in threads, processes or on a cluster; never more at once than there are workers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from geometry.errors import InputError

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

MustStop = Callable[[], bool]
OnResult = Callable[[Result], None]

SCHEDULERS = "threads, processes, or tcp://host:port of a Dask scheduler"
AHEAD = 2
"""Tasks that a cluster holds for each of its threads, so that none waits for the next."""
CONNECT_SECONDS = 10


def worker_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_tasks(
    function: Callable[[Shared, Task, MustStop], Result],
    shared: Shared,
    tasks: Sequence[Task],
    scheduler: str = "threads",
    on_result: OnResult[Result] = lambda result: None,
) -> None:
    """Call `function(shared, task, must_stop)` for every task; `on_result` gets results in this thread as they come.

    Tasks begin in their order. Results should be small: Dask holds them until the end. With threads, `must_stop` turns
    true when the others are to end early; elsewhere it stays false. An interrupt or the first error of a task lets no
    further task begin, waits for those that run, and is raised as itself.
    Raises InputError: no such scheduler, or one that does not answer.
    """
    if scheduler == "threads":
        _run_in_threads(function, shared, tasks, on_result)
    elif scheduler == "processes":
        _run_in_processes(function, shared, tasks, on_result)
    elif "://" in scheduler:
        _run_on_cluster(function, shared, tasks, scheduler, on_result)
    else:
        raise InputError(f"a scheduler ({SCHEDULERS})", repr(scheduler), "choose one of these")


def _run_in_threads(
    function: Callable[[Shared, Task, MustStop], Result],
    shared: Shared,
    tasks: Sequence[Task],
    on_result: OnResult[Result],
) -> None:
    from dask.threaded import get

    stopped = threading.Event()

    def run(task: Task) -> Result:
        return function(shared, task, stopped.is_set)

    with _ending(ThreadPoolExecutor(worker_count(), "task"), stopped) as pool:
        _walk(get, run, tasks, pool, on_result)


def _run_in_processes(
    function: Callable[[Shared, Task, MustStop], Result],
    shared: Shared,
    tasks: Sequence[Task],
    on_result: OnResult[Result],
) -> None:
    """What is shared crosses to each process once; Dask's own pool would send it with every task."""
    from dask.multiprocessing import get

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(worker_count(), context, _prepare, (pickle.dumps((function, shared)),))
    with _ending(pool, threading.Event()) as executor:
        _walk(get, _run_prepared, tasks, executor, on_result)


def _walk(
    get: Callable[..., Any],
    run: Callable[[Task], Result],
    tasks: Sequence[Task],
    pool: Executor,
    on_result: OnResult[Result],
) -> None:
    """Let a Dask scheduler of this machine walk the graph; it submits as many tasks as the pool has workers."""
    from dask.callbacks import Callback

    if not tasks:
        return
    # Of tasks that nothing depends on, Dask begins with the last by name.
    graph = {f"task-{len(tasks) - number:012d}": (run, task) for number, task in enumerate(tasks)}

    def done(key: Any, result: Result, graph: Mapping[Any, Any], state: Any, worker: Any) -> None:
        on_result(result)

    with Callback(posttask=done):
        get(graph, list(graph), pool=pool, optimize_graph=False, chunksize=1)


@contextmanager
def _ending(pool: Executor, stopped: threading.Event) -> Iterator[Executor]:
    """A pool that is idle and gone when the block ends, however it ends: nothing is written afterwards."""
    try:
        yield pool
    except BaseException:
        stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_prepared: list[Any] = []
"""In a worker process: the function and what is shared."""


def _prepare(pickled: bytes) -> None:
    # Ctrl-C reaches the whole group of processes; the first one decides what becomes of the tasks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _prepared[:] = pickle.loads(pickled)  # noqa: S301 - from the process that started this one


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_prepared(task: Any) -> Any:
    function, shared = _prepared
    return function(shared, task, _never)


def _never() -> bool:
    return False


def _run_on_cluster(
    function: Callable[[Shared, Task, MustStop], Result],
    shared: Shared,
    tasks: Sequence[Task],
    address: str,
    on_result: OnResult[Result],
) -> None:
    from distributed import Client, as_completed, wait

    if not tasks:
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        remedy = "check the address, and that the scheduler runs"
        raise InputError("a Dask scheduler", f"{address}, which does not answer ({error})", remedy) from error
    with client, client.as_current():
        threads: int = sum(client.nthreads().values())  # pyright: ignore[reportAttributeAccessIssue]
        if not threads:
            raise InputError("workers of the Dask scheduler", f"none at {address}", "start `dask worker` for it")
        everywhere = client.scatter(shared, broadcast=True, hash=False)
        waiting = iter(tasks)

        def submit(task: Task) -> Any:
            # Running a task again would do no harm; a task that another worker also runs must not be merged with it.
            return client.submit(function, everywhere, task, _never, pure=False, retries=1)

        running = as_completed([submit(task) for task in islice(waiting, AHEAD * threads)])
        try:
            for future in running:
                on_result(future.result())
                for task in waiting:
                    running.add(submit(task))
                    break
        except BaseException:
            # Nothing may write any more when this returns.
            wait(list(running.futures))
            raise
