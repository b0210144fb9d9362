"""A pickle is read as data: arrays of every spelling come out, and nothing that a file asks for is ever done."""

import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csc_matrix, random_array

from flame_fitting.models.flame_pickle import build_inert, read_array_pickle
from geometry.errors import InputError

# Test folders are no package, so a module beside this one is found by its path.
from tests.flame_fitting.models.synthetic_flame import Python2Pickle

ARRAYS = {
    "doubles": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "cube": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "unsigned": np.array([[2**32 - 1, 0, 1]], np.uint32),
    "bytes": np.frombuffer(bytes(range(256)), np.uint8),
    "sparse": csc_matrix(random_array((5, 40), density=0.1, rng=np.random.default_rng(0))),
    "text": "lbs",
}
WANTED = tuple(ARRAYS)


def dense(value):
    return value.toarray() if isinstance(value, csc_matrix) else value


def assert_read(path: Path) -> None:
    found = read_array_pickle(path, WANTED)
    for key, value in ARRAYS.items():
        if isinstance(value, str):
            assert found[key] == value
        else:
            np.testing.assert_array_equal(found[key], dense(value))
            assert found[key].dtype == dense(value).dtype


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_todays_numpy_and_scipy_come_out_whole(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(ARRAYS, protocol=protocol))
    assert_read(tmp_path / "a.pkl")


def test_arrays_that_python_2_wrote_come_out_whole(tmp_path):
    (tmp_path / "a.pkl").write_bytes(Python2Pickle().file(ARRAYS, chumpy=("doubles", "cube")))
    assert_read(tmp_path / "a.pkl")


def test_old_text_pickles_with_escaped_strings_come_out_whole(tmp_path):
    data = np.array([1.5, -2.0]).tobytes()
    escaped = "".join(f"\\x{byte:02x}" for byte in data).encode()
    lines = b"(dp1\nS'a'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\ntRp5\n"
    lines += b"(I1\n(I2\ntcnumpy\ndtype\np6\n(S'f8'\nI0\nI1\ntRp7\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    lines += b"I00\nS'" + escaped + b"'\ntbs."
    (tmp_path / "a.pkl").write_bytes(lines)
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "a.pkl", ("a",))["a"], [1.5, -2.0])


def test_a_slice_of_a_chumpy_array_is_computed(tmp_path):
    writer = Python2Pickle()
    source = np.arange(24.0).reshape(2, 3, 4)
    rows = np.arange(24).reshape(2, 3, 4)[..., :2].ravel()
    picked = writer.select(writer.ch(writer.array(source)), rows, (2, 3, 2))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}(" + writer.text("a") + picked + b"u.")
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "a.pkl", ("a",))["a"], source[..., :2])


def test_big_endian_arrays_mean_the_same(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.arange(5.0).astype(">f8")}))
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "a.pkl", ("a",))["a"], np.arange(5.0))


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": lambda mark: pickle.dumps({"v_template": Calls(os.system, f"touch {mark}")}),
    "eval": lambda mark: pickle.dumps({"v_template": Calls(eval, f"open({str(mark)!r}, 'w')")}),
    "chain": lambda mark: pickle.dumps({"v_template": Calls(Calls, Calls(os.system, f"touch {mark}"))}),
    "getattr": lambda mark: pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
    "inst opcode": lambda mark: f"(S'touch {mark}'\nios\nsystem\n.".encode(),
    "obj opcode": lambda mark: f"(cos\nsystem\nS'touch {mark}'\no.".encode(),
    "stack global": lambda mark: (
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(f"touch {mark}")])
        + f"touch {mark}".encode()
        + b"\x85R."
    ),
    "reduce of a built value": lambda mark: b"cnumpy\ndtype\n(S'f8'\ntR(S'x'\ntR.",
    "numpy's own loader": lambda mark: b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
    "numpy's test runner": lambda mark: b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
    "a dotted way round": lambda mark: b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
    "chumpy in name only": lambda mark: b"cchumpyos\nsystem\n(S'x'\ntR.",
    "extension registry": lambda mark: b"\x80\x02\x82\x01.",
    "persistent id": lambda mark: b"Pabc\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_a_file_asks_for_is_done(tmp_path, name):
    mark = tmp_path / "mark"
    (tmp_path / "a.pkl").write_bytes(HOSTILE[name](mark))
    with pytest.raises(InputError, match="nothing in it was executed"):
        read_array_pickle(tmp_path / "a.pkl", ("v_template",))
    assert not mark.exists()


def test_chumpys_names_are_data_and_never_imported(tmp_path, monkeypatch):
    (tmp_path / "chumpy.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    writer = Python2Pickle()
    (tmp_path / "a.pkl").write_bytes(writer.file({"a": np.arange(3.0)}, chumpy=("a",)))
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "a.pkl", ("a",))["a"], np.arange(3.0))
    assert not (tmp_path / "mark").exists()


def huge_array(shape: bytes, size: int = 8) -> bytes:
    writer = Python2Pickle()
    code = b"cnumpy\ndtype\n(" + writer.text("f8") + b"K\x00K\x01tR"
    state = b"(K\x01" + shape + code + b"\x89" + writer.raw(b"x" * size) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + b"J\xff\xff\xff\x7f" * 3 + b"tU\x01btR"
    return b"\x80\x02}(U\x01a" + made + state + b"bu."


GREEDY = {
    "array that declares more than it holds": huge_array(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"),
    "overflowing shape": huge_array(b"(\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01t"),
    "negative shape": huge_array(b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft"),
    "string longer than the file": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "memo of 2^32 slots": b"\x80\x02}r\xff\xff\xff\xff(U\x01aN" + b"h\x07u.",
    "integer of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "sparse matrix larger than any": None,
    "object array": pickle.dumps({"a": np.array([{}, []], object)}),
    "record array": pickle.dumps({"a": np.zeros(2, [("x", "f8")])}),
    "tuple as a key": b"\x80\x02}(K\x01K\x02\x86K\x01u.",
    "no stop": b"\x80\x02}(U\x01a",
    "empty": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "stack underflow": b"\x80\x02t.",
    "build on nothing": b"\x80\x02}b.",
    "a list": pickle.dumps([1, 2]),
}


@pytest.mark.parametrize("name", GREEDY)
def test_no_file_takes_more_memory_than_it_is_long(tmp_path, name):
    data = GREEDY[name]
    if data is None:
        writer = Python2Pickle()
        honest = writer.sparse(csc_matrix((5, 40)))
        data = (
            b"\x80\x02}(U\x01a" + honest.replace(writer.number(5) + writer.number(40), b"J\xff\xff\xff\x7f" * 2) + b"u."
        )
        assert data.count(b"J\xff\xff\xff\x7f") == 2
    (tmp_path / "a.pkl").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="expected a pickled dictionary of arrays"):
            read_array_pickle(tmp_path / "a.pkl", ("a",))
        assert tracemalloc.get_traced_memory()[1] < 30 * len(data) + 2_000_000
    finally:
        tracemalloc.stop()


def test_a_pyramid_of_references_ends_at_once():
    layers = b"\x80\x02K\x01"
    for number in range(200):  # each tuple holds the one before twice: 2^200 leaves, 200 objects
        layers += b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86"
    tree = build_inert(layers + b".")
    assert isinstance(tree, tuple)


def test_damage_anywhere_ends_in_one_error_or_in_the_whole_dictionary(tmp_path):
    good = Python2Pickle().file({"a": np.arange(6.0), "s": csc_matrix(np.eye(3))}, chumpy=("a",))
    random = np.random.default_rng(3)
    path = tmp_path / "a.pkl"
    for trial in range(400):
        bad = bytearray(good)
        if trial % 2:
            bad = bad[: random.integers(0, len(bad))]
        else:
            for place in random.integers(0, len(bad), 4):
                bad[place] = random.integers(0, 256)
        path.write_bytes(bytes(bad))
        try:
            found = read_array_pickle(path, ("a", "s"))
        except InputError:
            continue
        assert isinstance(found, dict)
