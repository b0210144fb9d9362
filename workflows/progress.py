"""A progress bar per step on a terminal, a line per step elsewhere; both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""Called with what is done and the total."""

console = Console(file=sys.stderr, highlight=False, soft_wrap=True)


@contextmanager
def step(name: str) -> Iterator[Report]:
    """Show a step's progress while the block runs, and its time when it ends."""
    started = time.monotonic()
    if not console.is_terminal:
        yield lambda done, total: None
        console.print(f"  {name:<10} {time.monotonic() - started:6.1f} s", markup=False)
        return
    columns = (TextColumn("  {task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
        if bars.tasks[0].total is None:  # a step that does not count ends as one of one
            bars.update(task, completed=1, total=1)


def say(message: str) -> None:
    """A line for the user, beside the data on standard output."""
    console.print(message, markup=False)
