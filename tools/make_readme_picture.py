"""Render the README's picture from the demo: `make demo`, then `.venv/bin/python tools/make_readme_picture.py`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from flame_fitting.models.registry import load_head_model
from storage.take import Take
from workflows.heads import StoredHead
from workflows.report.pictures import Shot
from workflows.surfaces import read_surface

TAKE, TARGET = Path("out/demo/take.zarr"), Path("docs/images/demo.jpg")
FRAMES, CAMERA, WIDTH = (2, 5, 11), "m1_rgb", 300


def main() -> None:
    """A row a frame: the picture, the fused surface, the fitted head, the head in its texture."""
    take = Take.open(TAKE)
    head, model, camera = StoredHead.read(take), load_head_model(), take.rig[CAMERA]
    texture = np.asarray(head.result["base_colour"])
    rows = []
    for frame in FRAMES:
        vertices = np.asarray(head.result["vertices"][frame]).astype(float)
        shot = Shot.of_points(camera, vertices, WIDTH)
        drawing = shot.drawing(vertices, model.faces.numpy())
        surface, picture = read_surface(take, frame), take.frame(CAMERA, frame)
        assert picture is not None
        row = [
            shot.picture(picture),
            shot.drawing(surface.vertices, surface.faces).shaded(),
            drawing.shaded(),
            drawing.textured(texture, model.uv.numpy().astype(float), model.uv_faces.numpy()),
        ]
        rows.append(np.concatenate(row, 1))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    image = np.concatenate(rows, 0)[..., ::-1]
    cv2.imwrite(str(TARGET), image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(TARGET, image.shape)


if __name__ == "__main__":
    main()
