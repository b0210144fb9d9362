"""What the steps produced, each result with the settings, inputs and code that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geometry.errors import InputError
from storage.array_spec import ArraySpec
from storage.arrays import StoredArray, content_digest, encode_file, write_array, write_metadata
from storage.chunks import DamagedChunk
from storage.documents import digest, plain, read_group, write_group
from storage.places import PARTIAL_SUFFIX, Place
from storage.provenance import Provenance
from storage.rig_json import require_name
from storage.schema import ResultArray

__all__ = ["PartialArray", "PartialResult", "Provenance", "ResultArray", "Results", "StoredResult"]


MADE_BY = {"landmarks": "fit", "person": "fit", "track": "fit", "surface": "fuse"}
"""The command that makes a step, where it is not named like it."""


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A whole result. `result["vertices"][5]` reads the chunk that holds row 5 and nothing else."""

    arrays: Mapping[str, StoredArray]
    """Lazily read, by name."""
    provenance: Provenance
    """What made it."""
    digest: str
    """Changes with any value, setting or input: what a step that reads this result names as its input."""
    name: str
    """Step and run, for messages."""

    def __getitem__(self, name: str) -> StoredArray:
        if name not in self.arrays:
            known = ", ".join(self.arrays)
            raise InputError(f"an array of result {self.name} ({known})", repr(name), "make the result anew")
        return self.arrays[name]


@dataclass(frozen=True)
class PartialArray:
    """An array that is written one row at a time."""

    shape: tuple[int, ...]
    """Length of each axis; the first counts the rows."""
    dtype: str
    """NumPy's name of the value type."""
    axes: tuple[str, ...]
    """A name for each axis."""
    unit: str = ""
    """Of the values."""

    def spec(self) -> ArraySpec:
        """A file per row, so that a killed step keeps what it has done."""
        return ArraySpec(self.shape, self.dtype, self.axes, self.unit)


@dataclass(frozen=True, eq=False)
class PartialResult:
    """A result on its way, row by row; rows may be written by different threads and processes."""

    place: Place
    """The take."""
    folder: str
    """The run's folder."""
    specs: Mapping[str, ArraySpec]
    """Its arrays, all of as many rows."""
    provenance: Provenance
    """What makes it."""

    def pending(self) -> list[int]:
        """The rows that are not whole on disk yet, in order."""
        count = next(iter(self.specs.values())).row_count
        return [row for row in range(count) if not all(self._is_whole(name, row) for name in self.specs)]

    def write(self, row: int, values: Mapping[str, np.ndarray]) -> None:
        """Store one row of every array."""
        if set(values) != set(self.specs):
            raise ValueError(f"values for {sorted(values)}, not for {sorted(self.specs)}")
        for name, spec in self.specs.items():
            value = np.asarray(values[name])
            if value.shape != spec.shape[1:] or value.dtype != spec.numpy_dtype or not 0 <= row < spec.row_count:
                raise ValueError(f"{name}[{row}]: {value.dtype} {value.shape} is no row of {spec.dtype} {spec.shape}")
            self.place.write(f"{self.folder}/{name}/{spec.file_key(row)}", encode_file(spec, value[None]))

    def finish(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Mark the result whole, as the last write; ValueError if rows are pending."""
        if pending := self.pending():
            raise ValueError(f"{len(pending)} rows of {self.folder} are not written, the first is {pending[0]}")
        for key in list(self.place.keys(self.folder)):
            if key.endswith(PARTIAL_SUFFIX):
                self.place.remove(key)
        digests = {name: content_digest(self.place, f"{self.folder}/{name}", spec) for name, spec in self.specs.items()}
        provenance = self.provenance if metrics is None else replace(self.provenance, metrics=metrics)
        _write_run(self.place, self.folder, "complete", provenance, digests)

    def _is_whole(self, name: str, row: int) -> bool:
        spec = self.specs[name]
        if not spec.file_count:
            return True
        try:
            data = self.place.read(f"{self.folder}/{name}/{spec.file_key(row)}")
            spec.bytes_codec.check(data, spec.chunk_shape, spec.numpy_dtype)
        except (FileNotFoundError, DamagedChunk):
            return False
        return True


@dataclass(frozen=True)
class Results:
    """The results of a take, by step ("fuse", "fit" ...) and run."""

    place: Place
    """The take."""

    def steps(self) -> list[str]:
        """Steps with at least one whole result."""
        return [step for step in self.place.children("results") if self.runs(step)]

    def runs(self, step: str) -> list[str]:
        """Names of a step's whole results."""
        return [run for run in self.place.children(f"results/{step}") if self._complete(step, run) is not None]

    def write(
        self,
        step: str,
        run: str,
        arrays: Mapping[str, ResultArray],
        provenance: Provenance,
        overwrite: bool = False,
    ) -> None:
        """Store a result. It counts only once all of it is on disk; a killed writer leaves nothing that reads as whole.

        Raises InputError (see `claim`) if the run holds a result of another config or inputs, or the disk is full.
        """
        specs = {name: array.spec() for name, array in arrays.items()}
        folder = self._start(step, run, provenance, overwrite)
        digests = {}
        for name, array in arrays.items():
            values = array.values.astype(specs[name].numpy_dtype, copy=False)
            digests[require_name(name, "an array")] = write_array(self.place, f"{folder}/{name}", values, specs[name])
        _write_run(self.place, folder, "complete", provenance, digests)

    def read(self, step: str, run: str = "default") -> StoredResult:
        """A whole result, its arrays lazily; InputError (naming the command that makes it) if there is none."""
        attributes = self._complete(step, run)
        if attributes is None:
            got = f"no finished result {step}/{run} in {self.place.address}"
            command = MADE_BY.get(step, step)
            raise InputError(f"a result of `mien {command}`", got, f"run `mien {command} {self.place.address}` first")
        folder = f"results/{step}/{run}"
        arrays = {name: StoredArray.open(self.place, f"{folder}/{name}") for name in attributes["arrays"]}
        return StoredResult(arrays, Provenance(**attributes["provenance"]), digest(attributes), f"{step}/{run}")

    def is_current(self, step: str, run: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
        """Whether a whole result of just this config and these inputs is there, so that nothing is left to do."""
        attributes = self._complete(step, run)
        return attributes is not None and _same_origin(attributes, config, inputs)

    def claim(
        self, step: str, run: str, config: Mapping[str, Any], inputs: Mapping[str, str], overwrite: bool = False
    ) -> bool:
        """Whether there is work to do: False if `is_current`.

        Raises InputError naming --overwrite if the run holds a result of another config or other inputs. For a
        command to ask before it computes.
        """
        attributes = self._complete(step, run)
        if attributes is None or overwrite:
            return True
        if _same_origin(attributes, config, inputs):
            return False
        what = "other settings" if attributes["provenance"]["config"] != plain(config) else "other inputs"
        got = f"a result of {what} at {self.place.address}/results/{step}/{run}"
        raise InputError("no other result in the way", got, "replace it with --overwrite")

    def begin_partial(
        self,
        step: str,
        run: str,
        arrays: Mapping[str, PartialArray],
        provenance: Provenance,
        overwrite: bool = False,
    ) -> PartialResult | None:
        """Start a result that is written row by row, or go on with an unfinished one of the same origin and code.

        Returns None if it is there already. Raises InputError as `claim` does.
        """
        if len({array.shape[:1] for array in arrays.values()}) != 1 or not all(a.shape for a in arrays.values()):
            raise ValueError("a partial result needs arrays of as many rows")
        if not self.claim(step, run, provenance.config, provenance.inputs, overwrite):
            return None
        specs = {require_name(name, "an array"): array.spec() for name, array in arrays.items()}
        declared = {name: digest(spec.to_metadata()) for name, spec in specs.items()}
        folder = f"results/{step}/{run}"
        if overwrite or self._attributes(step, run) != _attributes("writing", provenance, declared):
            self._start(step, run, provenance, overwrite)
            for name, spec in specs.items():
                write_metadata(self.place, f"{folder}/{name}", spec)
            _write_run(self.place, folder, "writing", provenance, declared)
        return PartialResult(self.place, folder, specs, provenance)

    def remove(self, step: str, run: str = "default") -> None:
        """Remove a result, whole or not."""
        require_name(step, "a step")
        require_name(run, "a run")
        if self._attributes(step, run) is not None:
            write_group(self.place, f"results/{step}/{run}", {"state": "clearing"})
        self.place.remove(f"results/{step}/{run}")

    def _start(self, step: str, run: str, provenance: Provenance, overwrite: bool) -> str:
        """Clear the run's folder. Its state forbids reading until the last write."""
        require_name(step, "a step")
        require_name(run, "a run")
        self.claim(step, run, provenance.config, provenance.inputs, overwrite)
        folder = f"results/{step}/{run}"
        for group in ("results", f"results/{step}"):
            if self.place.size(f"{group}/zarr.json") is None:
                write_group(self.place, group, {})
        _write_run(self.place, folder, "clearing", provenance, {})
        for name in self.place.children(folder):
            if name != "zarr.json":
                self.place.remove(f"{folder}/{name}")
        return folder

    def _attributes(self, step: str, run: str) -> dict[str, Any] | None:
        try:
            return read_group(self.place, f"results/{step}/{run}")
        except InputError:
            return None

    def _complete(self, step: str, run: str) -> dict[str, Any] | None:
        """The attributes of a whole result whose every part has its right type, else None."""
        attributes = self._attributes(step, run)
        if attributes is None or attributes.get("state") != "complete":
            return None
        arrays, provenance = attributes.get("arrays"), attributes.get("provenance")
        if not isinstance(arrays, dict) or not isinstance(provenance, dict):
            return None
        return attributes if set(provenance) == set(Provenance.__dataclass_fields__) else None


def _attributes(state: str, provenance: Provenance, digests: Mapping[str, str]) -> dict[str, Any]:
    return plain({"state": state, "provenance": provenance, "arrays": digests})


def _write_run(place: Place, folder: str, state: str, provenance: Provenance, digests: Mapping[str, str]) -> None:
    write_group(place, folder, _attributes(state, provenance, digests), durable=state == "complete")


def _same_origin(attributes: Mapping[str, Any], config: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    stored = attributes["provenance"]
    return stored["config"] == plain(config) and stored["inputs"] == plain(inputs)
