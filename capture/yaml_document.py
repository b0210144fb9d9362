"""YAML from outside: bounded, without aliases, every scalar as the text that stands there.

Text only, because YAML's own guesses lose what names mean: a camera 01 becomes the number 1, `no` becomes false.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from geometry.errors import InputError

LARGEST_BYTES = 2**20
"""An OpenCV file of a thousand cameras; more is no document that a person or a calibration wrote."""
DEEPEST = 16
OPENCV_HEADER = b"%YAML:1.0"
"""What OpenCV's FileStorage writes first, which is not YAML ("%YAML 1.0")."""
REMEDY = "correct the file or copy it again"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file holds: mappings, lists and text, tags aside.

    Raises InputError: no such file, too large, no YAML, no mapping, a key twice, anchors and aliases, nesting deeper
    than DEEPEST.
    """
    return parse_yaml(read_small_file(path, LARGEST_BYTES, "a YAML file"), str(path))


def read_small_file(path: Path, most_bytes: int, what: str) -> bytes:
    """The bytes of a file that may have at most so many; InputError otherwise, or if it cannot be read."""
    try:
        if not path.is_file():
            raise InputError(what, f"no file {path}", "correct the path or copy the file again")
        if (size := path.stat().st_size) > most_bytes:
            raise InputError(f"{what} of at most {most_bytes} bytes", f"{size} bytes in {path}", REMEDY)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(what, f"{path} ({error})", REMEDY) from error


def parse_yaml(data: bytes, name: str) -> dict[str, Any]:
    """As `read_yaml`, of bytes that messages call `name`."""
    if data.startswith(OPENCV_HEADER):
        data = data[len(OPENCV_HEADER) :]
    try:
        loader = _TextLoader(data.decode())
        try:
            document = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise InputError("YAML of mappings, lists and text", f"{said} in {name}", REMEDY) from error
    if not isinstance(document, dict):
        raise InputError("a YAML mapping", f"{'nothing' if document is None else 'something else'} in {name}", REMEDY)
    return document


class _TextLoader(yaml.SafeLoader):
    """Builds dict, list and str, whatever the tags say."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(f"an anchor or alias in line {event.start_mark.line + 1}, which are refused")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"nesting deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value
        if isinstance(node, yaml.SequenceNode):
            return [self.construct_object(item) for item in node.value]
        assert isinstance(node, yaml.MappingNode)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key that is no text in line {key_node.start_mark.line + 1}")
            if key_node.value in mapping:
                raise yaml.YAMLError(f"{key_node.value!r} twice, in line {key_node.start_mark.line + 1}")
            mapping[key_node.value] = self.construct_object(value_node)
        return mapping
