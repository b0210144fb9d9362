"""The table of arrays says what the writer writes."""

import json
from pathlib import Path

from storage.schema import FRAMES_PER_SHARD, LARGEST_SHARD_BYTES, SCHEMA, schema_table_markdown
from tests.storage.synthetic_take import write_take


def test_every_written_array_is_declared(tmp_path: Path) -> None:
    write_take(tmp_path / "take.zarr")
    declared = {(rule.path, rule.dtype, rule.axes) for rule in SCHEMA.values()}
    arrays = 0
    for file in (tmp_path / "take.zarr").rglob("zarr.json"):
        metadata = json.loads(file.read_text())
        if metadata["node_type"] == "array":
            path = file.parent.relative_to(tmp_path / "take.zarr").as_posix()
            for camera_id in ("colour", "depth"):
                path = path.replace(f"streams/{camera_id}/", "streams/{camera}/")
            assert (path, metadata["data_type"], tuple(metadata["dimension_names"])) in declared
            arrays += 1
    assert arrays == 11


def test_the_docs_table_has_a_line_per_array() -> None:
    lines = schema_table_markdown().splitlines()
    assert len(lines) == len(SCHEMA) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert all(rule.path in line for rule, line in zip(SCHEMA.values(), lines[2:], strict=True))


def test_shards_hold_half_a_second_and_stay_small_in_memory() -> None:
    rule = SCHEMA["colour_frames"]
    assert rule.spec((900, 720, 1280, 3)).chunks_per_shard == FRAMES_PER_SHARD
    portrait = rule.spec((900, 6000, 8000, 3))
    assert portrait.chunks_per_shard == 1 and portrait.chunk_bytes <= LARGEST_SHARD_BYTES
    assert rule.spec((0, 720, 1280, 3)).file_count == 0
    assert SCHEMA["device_ns"].spec((10**6,)).file_count == 16
