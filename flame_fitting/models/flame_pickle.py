"""Arrays out of a pickle, with nothing executed: a small reader of pickle's opcodes that only builds inert values.

Python's own unpickler calls whatever a file names. This one has no call in it at all: a class or function becomes a
`Global` (a pair of names), a call becomes a `Built` (names and arguments), and only the few that spell an array are
then read as one. Everything that a file declares is checked against the bytes that are really there.
"""

from __future__ import annotations

import codecs
import pickletools
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from geometry.errors import InputError

MOST_BYTES = 1 << 30
"""FLAME is 50 to 130 MB; a file of over a gibibyte is not one."""
MOST_OPCODES = 3_000_000
MOST_DENSE = 2_000_000
"""Elements of a sparse matrix made dense; FLAME's joint regressor has 25,115."""
NESTING = 8
"""Array within chumpy's Select within chumpy's Ch: real files need three levels."""
PLAIN_KINDS = "fiub"
RECONSTRUCT = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
SCALAR = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}
FROM_BUFFER = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
DTYPE, NDARRAY, ENCODE = ("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")
RECONSTRUCTOR = {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}
OBJECT = {("__builtin__", "object"), ("builtins", "object")}
BYTEARRAY = {("__builtin__", "bytearray"), ("builtins", "bytearray")}
SPARSE = {("scipy.sparse.csc", "csc_matrix"), ("scipy.sparse._csc", "csc_matrix")}


@dataclass(frozen=True)
class Global:
    """The name of a class or function in a file; nothing is imported for it."""

    module: str
    """As written."""
    name: str
    """As written."""

    @property
    def key(self) -> tuple[str, str]:
        """To be looked up in the tables above."""
        return self.module, self.name


@dataclass(eq=False)
class Built:
    """A call that a file asks for and does not get: what would be called, with what, and the state set after."""

    of: Global
    """What would be called or instantiated."""
    arguments: tuple[Any, ...]
    """Inert values."""
    state: Any = field(default=None)
    """What would be handed to `__setstate__`."""


class _Mark:
    """Where a list of arguments begins on the stack."""


class NotPlain(Exception):
    """A pickle asks for something that no file of arrays needs."""


def allowed(named: Global) -> bool:
    """Whether a file of arrays may name it; chumpy's classes are data holders here."""
    tables = RECONSTRUCT | SCALAR | FROM_BUFFER | RECONSTRUCTOR | OBJECT | BYTEARRAY | SPARSE | {DTYPE, NDARRAY, ENCODE}
    chumpy = named.module == "chumpy" or named.module.startswith("chumpy.")
    return named.key in tables or chumpy


def read_array_pickle(path: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The wanted entries of a pickled dictionary, as far as it has them: arrays, strings and numbers.

    Raises InputError for anything else than such a dictionary: other classes, other calls, damaged or oversized files.
    Nothing of the file is executed, and what is allocated is bounded by the bytes that are there.
    """
    size = path.stat().st_size
    expected = "a pickled dictionary of arrays, as FLAME's .pkl files are"
    if size > MOST_BYTES:
        raise InputError(expected, f"{path} of {size >> 20} MiB", "give the model's own file")
    try:
        tree = build_inert(path.read_bytes())
        if not isinstance(tree, dict):
            raise NotPlain(f"its content is no dictionary but a {type(tree).__name__}")
        return {key: plain_value(tree[key], key) for key in wanted if key in tree}
    except (NotPlain, ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
        remedy = "download the file again from its publisher, and open no pickle of unknown origin elsewhere"
        raise InputError(expected, f"{path} ({error}); nothing in it was executed", remedy) from error


def build_inert(data: bytes) -> Any:
    """What a pickle describes, as dictionaries, lists, numbers, strings, bytes, `Global` and `Built`.

    Raises NotPlain for opcodes and names outside the lists, and ValueError for damaged files.
    """
    machine = _Machine()
    stream = BytesIO(data)
    for _ in range(MOST_OPCODES):
        opcode = OPCODES.get(stream.read(1).decode("latin1"))
        if opcode is None:
            raise NotPlain("it is no pickle, or cut off")
        if opcode.name == "STOP":
            return machine.pop()
        if opcode.name == "STRING":  # pickletools takes these for ASCII; Python 2 wrote arrays in them
            line = stream.readline().strip()
            argument = codecs.escape_decode(line[1:-1])[0].decode("latin1")  # pyright: ignore[reportAttributeAccessIssue]
        else:
            argument = opcode.arg.reader(stream) if opcode.arg else None
        machine.step(opcode.name, argument)
    raise NotPlain(f"more than {MOST_OPCODES} opcodes")


OPCODES: dict[str, Any] = {opcode.code: opcode for opcode in pickletools.opcodes}
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Any] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
ARGUMENT_ITSELF = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Pickle's stack and memo, without its calls."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack:
            raise NotPlain("its stack runs empty")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while True:
            value = self.pop()
            if isinstance(value, _Mark):
                return values[::-1]
            values.append(value)

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in ARGUMENT_ITSELF:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in TUPLES:
            values = [self.pop() for _ in range(TUPLES[name])]
            self.stack.append(tuple(values[::-1]))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            slot = len(self.memo) if name == "MEMOIZE" else int(argument)
            self.memo[slot] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(argument)])
        else:
            self._compose(name, argument)

    def _compose(self, name: str, argument: Any) -> None:
        """Opcodes that put values together."""
        if name in ("PROTO", "FRAME"):
            return
        if name == "MARK":
            self.stack.append(_Mark())
        elif name in ("TUPLE", "LIST"):
            values = self.pop_to_mark()
            self.stack.append(tuple(values) if name == "TUPLE" else values)
        elif name == "DICT":
            flat = self.pop_to_mark()
            self.stack.append({})
            self._set_items(flat)
        elif name in ("APPEND", "APPENDS"):
            values = [self.pop()] if name == "APPEND" else self.pop_to_mark()
            self._top(list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self.pop_to_mark()
            self._set_items(values)
        elif name == "POP":
            self.pop()
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(name, argument)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = self.pop(), self.pop()
            if not isinstance(called, Global) or not isinstance(arguments, tuple):
                raise NotPlain("it calls something that is no name")
            self.stack.append(Built(called, arguments))
        elif name == "BUILD":
            state = self.pop()
            self._top(Built).state = state
        else:
            raise NotPlain(f"it uses the opcode {name}")

    def _name(self, opcode: str, argument: Any) -> None:
        if opcode == "GLOBAL":
            module, _, name = str(argument).partition(" ")
        else:
            name, module = self.pop(), self.pop()
        named = Global(str(module)[:200], str(name)[:200])
        if not allowed(named):
            raise NotPlain(f"it names {named.module}.{named.name}")
        self.stack.append(named)

    def _top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise NotPlain(f"it builds on something that is no {kind.__name__}")
        return self.stack[-1]

    def _set_items(self, flat: list[Any]) -> None:
        target = self._top(dict)
        if len(flat) % 2:
            raise NotPlain("a dictionary has a key without a value")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Text alone: hashing nested tuples from a hostile file can take for ever.
            if not isinstance(key, (str, int)):
                raise NotPlain(f"a dictionary's key is a {type(key).__name__}")
            target[key] = value


def plain_value(value: Any, key: str, depth: int = 0) -> Any:
    """An array, a dense matrix of a sparse one, a string or a number; None for what is none of these.

    Raises NotPlain where an array is not what it says it is.
    """
    if depth > NESTING:
        raise NotPlain(f"{key} is nested too deeply")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("latin1")
    if isinstance(value, list):
        return _numbers(value)
    if not isinstance(value, Built):
        return None
    name, arguments = value.of.key, value.arguments
    if name in RECONSTRUCT:
        return _ndarray(value.state, key)
    if name in FROM_BUFFER and len(arguments) == 4:
        buffer, dtype, shape, order = arguments
        return _array(_raw(buffer), _dtype(dtype, key), shape, order == "F", key)
    if name in SCALAR and len(arguments) == 2:
        return _array(_raw(arguments[1]), _dtype(arguments[0], key), (), False, key)[()]
    if name in RECONSTRUCTOR and arguments and isinstance(arguments[0], Global):
        value = Built(arguments[0], (), value.state)
        name = value.of.key
    if name in SPARSE:
        return _dense(value.state, key, depth)
    if name[0].startswith("chumpy"):
        return _chumpy(value, key, depth)
    return None


def _numbers(values: list[Any]) -> np.ndarray | None:
    return np.array(values) if values and all(isinstance(value, (int, float)) for value in values) else None


def _raw(value: Any) -> bytes:
    """Bytes, however a protocol spells them: Python 2's strings, and Python 3's latin-1 encoded text."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("latin1")
    if isinstance(value, Built) and value.of.key == ENCODE and value.arguments[1:] in (("latin1",), ("latin-1",)):
        return _raw(value.arguments[0])
    if isinstance(value, Built) and value.of.key in BYTEARRAY and len(value.arguments) == 1:
        return _raw(value.arguments[0])
    raise NotPlain(f"an array's data is a {type(value).__name__}")


def _dtype(value: Any, key: str) -> np.dtype[Any]:
    """Numbers only: no objects, no records."""
    if not (isinstance(value, Built) and value.of.key == DTYPE and value.arguments):
        raise NotPlain(f"the type of {key} is not a plain one")
    code = value.arguments[0]
    code = code.decode("latin1") if isinstance(code, bytes) else code
    if not (isinstance(code, str) and len(code) == 2 and code[0] in PLAIN_KINDS and code[1] in "1248"):
        raise NotPlain(f"the type of {key} is {str(code)[:20]!r}, not a plain number")
    state = value.state
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    order = order.decode("latin1") if isinstance(order, bytes) else order
    return np.dtype(code).newbyteorder(order if order in ("<", ">") else "=")


def _ndarray(state: Any, key: str) -> np.ndarray:
    """What numpy's `__setstate__` would make of (version, shape, dtype, fortran, data)."""
    if not (isinstance(state, tuple) and len(state) in (4, 5)):
        raise NotPlain(f"the array {key} has no content")
    shape, dtype, fortran, data = state[-4:]
    return _array(_raw(data), _dtype(dtype, key), shape, bool(fortran), key)


def _array(data: bytes, dtype: np.dtype[Any], shape: Any, fortran: bool, key: str) -> np.ndarray:
    if not (isinstance(shape, tuple) and len(shape) <= 4 and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise NotPlain(f"the shape of {key} is not one of an array")
    count = 1
    for length in shape:
        count *= length
    if count * dtype.itemsize != len(data):
        raise NotPlain(f"{key} declares {count * dtype.itemsize} bytes and holds {len(data)}")
    flat = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")


def _dense(state: Any, key: str, depth: int) -> np.ndarray:
    """A sparse matrix in columns (old and new SciPy alike), dense. The size is bounded by what FLAME can need."""
    if not isinstance(state, dict):
        raise NotPlain(f"the sparse matrix {key} has no content")
    shape = state.get("_shape", state.get("shape"))
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise NotPlain(f"the sparse matrix {key} has no shape")
    data, indices, starts = (plain_value(state.get(part), key, depth + 1) for part in ("data", "indices", "indptr"))
    if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in (data, indices, starts)):
        raise NotPlain(f"the sparse matrix {key} lacks a part")
    rows, columns = shape
    if len(starts) != columns + 1 or len(data) != len(indices) or rows * columns > MOST_DENSE:
        raise NotPlain(f"the sparse matrix {key} of {rows} x {columns} does not fit its parts")
    lengths = np.diff(starts.astype(np.int64))
    fits = len(data) == lengths.sum() and starts[0] == 0 and (lengths >= 0).all()
    if not fits or (len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= rows)):
        raise NotPlain(f"the sparse matrix {key} points outside itself")
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (indices.astype(np.int64), np.repeat(np.arange(columns), lengths)), data)
    return dense


def _chumpy(value: Built, key: str, depth: int) -> Any:
    """chumpy's `Ch` holds its array as `x`; `Select` is `a.ravel()[idxs].reshape(preferred_shape)`."""
    state = value.state
    if not isinstance(state, dict):
        raise NotPlain(f"{key} is a chumpy object without content")
    if "x" in state:
        return plain_value(state["x"], key, depth + 1)
    if value.of.name == "Select" and {"a", "idxs", "preferred_shape"} <= set(state):
        source, rows = (plain_value(state[part], key, depth + 1) for part in ("a", "idxs"))
        shape = state["preferred_shape"]
        if not (isinstance(source, np.ndarray) and isinstance(rows, np.ndarray) and isinstance(shape, tuple)):
            raise NotPlain(f"{key} selects from something that is no array")
        return source.ravel()[rows].reshape(shape)
    raise NotPlain(f"{key} is a chumpy {value.of.name}, which has to be computed")
