"""The quality control on real devices: three TrueDepth cameras, of which one states a focal length 6 % off.

The truth is what the data's authors measured with many pictures of each camera (Urban et al. 2022, arXiv:2201.10865).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ingest_table import Table

from capture.calibration.board import BoardSpec, detect_board
from capture.calibration.board_guess import guess_board
from capture.calibration.focal_from_depth import focal_from_board_and_depth
from capture.ingest import IngestConfig
from capture.quality import check_take
from capture.quality.board import GUESS_FROM
from storage.take import Take
from workflows.ingesting import ingest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MIEN_DATA", ROOT.parent / "shared" / "data")) / "rgbd" / "truedepth_charuco"
FAULTY = "iPadPro12_5gen_iOS15"


def measure_truedepth(folder: Path, table: Table) -> None:
    """Ingest and check each device; add the largest error of our focal lengths and which devices were flagged."""
    if not DATA.is_dir():
        for key in ("truedepth_focal_error_percent_max", "truedepth_flagged", "truedepth_flagged_right"):
            table.absent[key] = "data"
        return
    errors, flagged = [], []
    for source in sorted((DATA / "DepthEvalDataset").iterdir()):
        take = ingest(source, folder / source.name, IngestConfig())
        measured = json.loads((DATA / "FrontCamCalibrationDataset" / source.name / "cam_calibration.json").read_text())
        ours_px = _focal_px(take, float((source / "checkersize.txt").read_text()) / 100)
        errors.append(100 * abs(ours_px / measured["cam_matrix"][0][0] - 1))
        checks = [check for check in check_take(take).checks if check.name == "focal_length"]
        if any(check.verdict == "fail" for check in checks):
            flagged.append(source.name)
    table.add("truedepth_focal_error_percent_max", max(errors), "%", 0.05)
    table.add("truedepth_flagged", len(flagged), "devices", 0.0)
    table.add("truedepth_flagged_right", float(flagged == [FAULTY]), "", 0.0, "higher")


def _focal_px(take: Take, square_m: float) -> float:
    """Our focal length from all frames of a take."""
    pictures = [take.stream("rgb").frame(t) for t in range(len(take.stream("rgb")))]
    depths_m = [take.stream("depth").depth_m(t) for t in range(len(take.stream("depth")))]
    spec: BoardSpec = guess_board(pictures[:GUESS_FROM], square_m)
    detections = [detect_board(picture, spec) for picture in pictures]
    return focal_from_board_and_depth(detections, depths_m, spec, take.rig["rgb"]).focal_px


measure = measure_truedepth
"""Its name as a part of its own: `python benchmarks/ingest.py truedepth`."""
