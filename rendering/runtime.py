"""Warp kernels on torch tensors: on the CPU over threads without copying, on CUDA in torch's own stream.

Every kernel is one-dimensional over work items and takes the number of its first item before all else, so that one
source serves a thread's share of the items on the CPU and all of them at once on a GPU. Two shares never write the same
memory: that is each kernel's duty, because Warp's atomics are plain writes on the CPU.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
import warp as wp
from torch import Tensor

SMALLEST_SHARE = 1024
"""Work items that are not worth a thread of their own: a launch costs about as much as so many items."""
PRECISIONS = {torch.float32: wp.float32, torch.float64: wp.float64}
"""Warp's scalar for each of torch's that the kernels are compiled for."""


_LOADING = threading.Lock()


def _load_warp() -> None:
    """Load Warp once, without its greeting.

    Without a CUDA driver its native part warns on file descriptor 2, past every log level: that is no news to whoever
    has no GPU. Errors of Python's own still reach the user, because they are raised.
    """
    wp.config.log_level = wp.LOG_WARNING
    if "MIEN_CACHE" in os.environ:
        wp.config.kernel_cache_dir = os.path.join(os.environ["MIEN_CACHE"], "warp")  # noqa: PTH118 (Warp wants text)
    try:
        sys.stderr.flush()
        keep = os.dup(2)
    except (AttributeError, OSError):  # no standard error to keep
        wp.init()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        wp.init()
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nowhere)


_load_warp()


def for_each_precision(kernel: Any, *, vectors: Sequence[str] = ()) -> dict[torch.dtype, Any]:
    """The kernel for float and for double; its arrays of `Any` hold scalars, those named in `vectors` three of them.

    Both are declared when the module is imported, so that it is compiled once and not again for the second precision.
    """
    found = {}
    for dtype, scalar in PRECISIONS.items():
        types = []
        for argument in kernel.adj.args:
            if isinstance(argument.type, wp.array) and argument.type.dtype is Any:
                element = wp.types.vector(3, scalar) if argument.label in vectors else scalar
                types.append(wp.array(dtype=element, ndim=argument.type.ndim))
            else:
                types.append(argument.type)
        found[dtype] = wp.overload(kernel, types)
    return found


def vectors(tensor: Tensor) -> wp.array:
    """The same memory as an array of Warp's vectors, one along the last axis."""
    return _as_warp(tensor, tensor.shape[:-1], wp.types.vector(tensor.shape[-1], wp.dtype_from_torch(tensor.dtype)))


def scalars(tensor: Tensor) -> wp.array:
    """The same memory as an array of Warp's scalars."""
    return _as_warp(tensor, tensor.shape, wp.dtype_from_torch(tensor.dtype))


def _as_warp(tensor: Tensor, shape: Sequence[int], dtype: Any) -> wp.array:
    if any(stride * tensor.element_size() >= 2**31 for stride in tensor.stride()[:-1]):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has 2 GiB or more a view: pass smaller pictures")
    if tensor.numel() == 0:  # whose strides Warp would not accept
        return wp.empty(tuple(shape), dtype=dtype, device=str(tensor.device))
    return wp.from_torch(tensor.detach(), dtype=dtype, requires_grad=False)


def pixel_runs(columns: int, device: torch.device) -> int:
    """How many pixels of a row a work item takes: all on a processor, whose threads run along memory, else one.

    The threads of a GPU then write side by side.
    """
    return max(1, columns) if device.type == "cpu" else 1


def launch_pixels(kernel: Any, shape: Sequence[int], inputs: Sequence[Any], device: torch.device) -> None:
    """Run `kernel(first, run, *inputs)` on all pixels of pictures of shape (views, rows, columns)."""
    views, rows, columns = shape
    run = pixel_runs(columns, device)
    launch(kernel, views * rows * -(-columns // run), [run, *inputs], device, worth=max(1, SMALLEST_SHARE // run))


def launch(
    kernel: Any, items: int, inputs: Sequence[Any], device: torch.device, *, worth: int = SMALLEST_SHARE
) -> None:
    """Run `kernel(first, *inputs)` on all items: in shares on torch's number of threads, or in torch's CUDA stream.

    Fewer items than are `worth` it do not get a thread of their own.
    """
    if items >= 2**31:
        raise ValueError(f"{items} pixels or triangles in one call, of at most 2^31 - 1: pass fewer views at a time")
    shares = [(0, items)]
    if device.type == "cpu":
        # A few shares more than threads even out what they hold: the triangles of a face come in order.
        threads = torch.get_num_threads()
        count = max(1, min(4 * threads if threads > 1 else 1, items // worth))
        bounds = [items * number // count for number in range(count + 1)]
        shares = list(pairwise(bounds))
    launch_tasks(kernel, [(last - first, [first, *inputs]) for first, last in shares], device)


def load(kernel: Any, device: torch.device) -> None:
    """Compile and load a kernel's module, once for all threads."""
    with _LOADING:
        kernel.module.load(str(device), block_dim=1 if device.type == "cpu" else None)


def launch_tasks(kernel: Any, tasks: Sequence[tuple[int, Sequence[Any]]], device: torch.device) -> None:
    """Run a kernel for tasks of (items, arguments), side by side on the CPU; the caller has split the memory."""
    load(kernel, device)
    side_by_side([partial(start, kernel, items, arguments, device) for items, arguments in tasks if items], device)


@contextmanager
def torch_stream(device: torch.device) -> Iterator[None]:
    """Warp works in torch's current stream here; on the CPU there is none."""
    if device.type == "cpu":
        yield
        return
    with torch.cuda.device(device), wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device))):
        yield


def start(kernel: Any, items: int, arguments: Sequence[Any], device: torch.device) -> None:
    """Launch a kernel in this thread, or in torch's CUDA stream."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            stream = wp.stream_from_torch(torch.cuda.current_stream(device))
            wp.launch(kernel, dim=items, inputs=list(arguments), stream=stream)
    else:
        wp.launch(kernel, dim=items, inputs=list(arguments), device="cpu")


def side_by_side(tasks: Sequence[Callable[[], None]], device: torch.device) -> None:
    """Run tasks that touch different memory: on torch's number of threads on the CPU, in order on CUDA.

    Kernels run without Python's lock. Their modules must be loaded before, so that launches only read what is there.
    """
    waiting = deque(tasks)

    def work() -> None:
        while waiting:
            try:
                task = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            task()

    # This thread works too: it is awake already, and the system gives the others the processors that it does not hold.
    others = min(torch.get_num_threads(), len(tasks)) - 1 if device.type == "cpu" else 0
    futures = [_threads(others).submit(work) for _ in range(others)]
    try:
        work()
    finally:
        # Who has not begun is not needed any more, and may stand behind another caller's work.
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()


@lru_cache(maxsize=4)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="mien-kernels")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of its parent's threads
