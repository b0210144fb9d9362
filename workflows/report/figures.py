"""The page's pictures with their captions: views, surfaces, the film strip."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flame_fitting.focal_length import fitted_cameras
from geometry.cameras import Camera
from geometry.meshes import Mesh
from rendering.arrays import interpolate_arrays
from storage.take import Take
from workflows.report.best_view import best_view
from workflows.report.charts import histogram, readable
from workflows.report.checks import number, stat
from workflows.report.colours import depth_colours, diverging, diverging_css, nice_limit
from workflows.report.contents import FittedHead, FusedSurface, SurfaceDistance
from workflows.report.markup import Child, Markup, element, join, sentence
from workflows.report.pictures import Drawing, Shot, jpeg_uri, outlined, virtual_camera

VIEW_BYTES, DEPTH_BYTES, SURFACE_BYTES, FILM_BYTES = 1_800_000, 700_000, 1_000_000, 600_000
"""Shares of the page's size; with text and charts they stay under 6 MB however many cameras there are."""
VIEW_WIDTHS = (190, 560)
"""Least and most pixels across a view."""
FILM_FRAMES, FILM_WIDTH = 8, 240
SURFACE_WIDTH = 640
DEPTH_SPAN_M = {True: 0.16, False: 1.0}
"""How deep the colours of a depth picture reach: a head's depth where a head was fitted, else a room's."""
HEAD_HEIGHT_M = 0.31
VIEWPOINTS = (("from the right", -40.0), ("from the front", 0.0), ("from the left", 40.0))
"""Where virtual cameras stand around the head: the subject's side, and degrees about its axis."""


def view_figures(take: Take, fit: FittedHead | None, frame: int) -> Markup:
    """Every colour picture with the fitted head drawn over it, to be switched off; then every depth picture."""
    head = None if fit is None else Mesh(fit.vertices(frame), fit.faces)
    cameras = take.rig.rgb if fit is None else fitted_cameras(take.rig.rgb, fit.result.provenance.metrics)
    colour = [_colour_figure(take, camera, fit, frame) for camera in cameras]
    span_m = DEPTH_SPAN_M[head is not None]
    depth = [_depth_figure(take, camera, fit, frame) for camera in take.rig.depth]
    switch = _overlay_switch() if head is not None and colour else ()
    parts: list[Child] = [*switch, element("div", *colour, class_="views")]
    if depth:
        legend = "grey: no measurement" + ("; the line is the fitted head's outline" if fit is not None else "")
        scale = element(
            "div",
            element("span", "nearest"),
            element("i", class_="viridis"),
            element("span", f"{span_m * 100:.0f} cm behind"),
            element("span", legend, class_="muted"),
            class_="scale",
        )
        parts += [element("h3", "Depth"), scale, element("div", *depth, class_="views")]
    return element("div", *parts, class_="switched")


def _overlay_switch() -> tuple[Markup, ...]:
    """Two radio buttons that style sheets alone understand."""
    buttons: list[Markup] = []
    for name, label in (("mesh", "Fitted mesh"), ("plain", "Picture only")):
        buttons += [
            element("input", type="radio", name="overlay", id=f"show-{name}", checked=name == "mesh"),
            element("label", label, for_=f"show-{name}"),
        ]
    return (*buttons, element("span", "or hold a picture to see it without the mesh", class_="muted hint"))


def _view_width(count: int, total_bytes: int) -> int:
    """Pixels across, so that `count` 4:5 pictures at 0.3 bytes a pixel fill their share of the page."""
    return int(np.clip((total_bytes / (max(count, 1) * 1.25 * 0.3)) ** 0.5, *VIEW_WIDTHS))


def _colour_figure(take: Take, camera: Camera, fit: FittedHead | None, frame: int) -> Markup:
    image = take.frame(camera.id, frame)
    if image is None:
        return _missing_figure(camera, frame)
    count = 2 * len(take.rig.rgb)
    width, share = _view_width(count, VIEW_BYTES), VIEW_BYTES // count
    notes = [_calibration(camera)]
    if fit is None:
        shot = Shot.whole(camera, width)
        pictures = [_image(shot.picture(image), share, f"Picture of {camera.id}")]
    else:
        vertices = fit.vertices(frame)
        shot = Shot.of_points(camera, vertices, width)
        plain = shot.picture(image)
        over = shot.drawing(vertices, fit.faces).over(plain)
        pictures = [
            _image(plain, share, f"Picture of {camera.id}"),
            _image(over, share, f"Fitted mesh over {camera.id}", "over"),
        ]
        if (error := fit.landmark_error_px(take, camera, frame)) is not None:
            notes.append(f"landmarks {error:.1f} px off")
    return _figure(pictures, camera.id, notes, shot)


def _depth_figure(take: Take, camera: Camera, fit: FittedHead | None, frame: int) -> Markup:
    depth_m = take.depth_m(camera.id, frame)
    if depth_m is None:
        return _missing_figure(camera, frame)
    width, share = _view_width(len(take.rig.depth), DEPTH_BYTES), DEPTH_BYTES // len(take.rig.depth)
    near, span_m = _nearest_m(camera, depth_m, fit, frame), DEPTH_SPAN_M[fit is not None]
    coloured, notes = depth_colours(depth_m, near, near + span_m), [_calibration(camera)]
    if fit is None:
        shot = Shot.whole(camera, width)
        picture = shot.picture(coloured)
    else:
        vertices = fit.vertices(frame)
        shot = Shot.of_points(camera, vertices, width)
        picture = outlined(shot.picture(coloured), shot.drawing(vertices, fit.faces).fragments.mask)
        notes.append(_depth_agreement(camera, depth_m, fit, vertices))
    return _figure([_image(picture, share, f"Depth of {camera.id}")], camera.id, notes, shot)


def _depth_agreement(
    camera: Camera, depth_m: Float[np.ndarray, "h w"], fit: FittedHead, vertices: Float[np.ndarray, "v 3"]
) -> str:
    """Over the face: share of pixels without depth, and how far the rest is from the fitted head along the view."""
    fragments = Shot(camera, (0.0, 0.0), 0.5, camera.image_size_hw).drawing(vertices, fit.faces).fragments
    rows, columns = camera.image_size_hw  # at half the scale and twice the samples, a pixel is the camera's own
    on_face = (
        interpolate_arrays(fragments, fit.faces, fit.face_region[:, None].astype(float))[:rows, :columns, 0] > 0.99
    )
    if not on_face.any():
        return "does not see the face"
    measured = on_face & (depth_m > 0)
    holes = 1 - measured.sum() / on_face.sum()
    if not measured.any():
        return "no depth on the face"
    offset = np.abs(depth_m - fragments.depth[:rows, :columns])[measured]
    return f"{float(np.median(offset)) * 1000:.1f} mm off along the view, {holes:.0%} holes"


def _nearest_m(camera: Camera, depth_m: Float[np.ndarray, "h w"], fit: FittedHead | None, frame: int) -> float:
    """Where a depth picture's colours begin: at the fitted head, else at what was measured."""
    distances = depth_m if fit is None else camera.project(fit.vertices(frame))[1]
    distances = distances[distances > 0]
    return float(np.percentile(distances, 0.5)) if len(distances) else 0.0


def _calibration(camera: Camera) -> str:
    if camera.reprojection_px is None:
        return "calibration error not stated"
    return f"calibrated to {camera.reprojection_px:.2f} px"


def surface_figures(
    fit: FittedHead, surface: FusedSurface | None, distance: SurfaceDistance | None, frame: int
) -> Markup:
    """The fused surface coloured by its distance to the fitted head from three sides, then the head itself."""
    head = Mesh(fit.vertices(frame), fit.faces)
    drawn = [_viewpoint(fit, head, frame, degrees) for _, degrees in VIEWPOINTS]
    share = SURFACE_BYTES // 6
    parts: list[Child] = []
    if surface is not None and distance is not None:
        limit = max(1.0, nice_limit(distance.percentile_mm(95)))
        colours = diverging(distance.signed_mm, limit)
        figures = [
            _side_figure(shot.drawing(surface.mesh.vertices, surface.mesh.faces).shaded(colours), words, share)
            for shot, (words, _) in zip(drawn, VIEWPOINTS, strict=True)
        ]
        parts += [_distance_scale(distance, limit), element("div", *figures, class_="thirds")]
    front = drawn[1]
    drawing = front.drawing(head.vertices, head.faces)
    row: list[Child] = []
    if surface is not None:
        own = front.drawing(surface.mesh.vertices, surface.mesh.faces).shaded(surface.mesh.colours)
        row.append(_side_figure(own, "fused surface in its own colours", share))
    row.append(_side_figure(drawing.shaded(), "fitted head", share))
    row.append(_textured_figure(fit, drawing, share))
    return join((*parts, element("div", *row, class_="thirds")))


def _viewpoint(fit: FittedHead, head: Mesh, frame: int, degrees: float) -> Shot:
    """A virtual camera around the fitted head, level with its face."""
    centre = head.vertices[fit.face_region].mean(0) if fit.face_region.any() else head.vertices.mean(0)
    angle = np.radians(degrees)
    rotation = fit.rotation[frame]
    direction = rotation @ np.array([np.sin(angle), 0.05, np.cos(angle)])
    camera = virtual_camera(centre + rotation @ np.array([0, 0.005, -0.04]), direction, HEAD_HEIGHT_M, SURFACE_WIDTH)
    return Shot(camera, (0.0, 0.0), 1.0, camera.image_size_hw)


def _textured_figure(fit: FittedHead, drawing: Drawing, share: int) -> Markup:
    if fit.texture is None or fit.model is None:
        return element("figure", sentence("The head has no texture that this version can show."))
    model = fit.model
    picture = drawing.textured(fit.texture, model.uv.double().numpy(), model.uv_faces.numpy())
    return _side_figure(picture, "fitted head in its texture", share)


def _side_figure(picture: np.ndarray, words: str, share: int) -> Markup:
    caption = words[0].upper() + words[1:]
    return element(
        "figure", element("div", _image(picture, share, caption), class_="frame"), element("figcaption", caption)
    )


def _distance_scale(distance: SurfaceDistance, limit: float) -> Markup:
    bar = element("i", style=f"background:{diverging_css()}")
    ticks = (element("span", f"{level:+g}" if level else "0") for level in (-limit, -limit / 2, 0, limit / 2, limit))
    left_out = int(np.isnan(distance.signed_mm).sum())
    note = f"{number(len(distance.face_mm))} surface points over the face"
    if left_out:
        note += f"; {number(left_out)} points over 30 mm away are grey and not counted"
    return element(
        "div",
        stat(f"{number(distance.percentile_mm(50))} mm", "median distance"),
        stat(f"{number(distance.percentile_mm(95))} mm", "95 % are closer"),
        element(
            "div",
            histogram(distance.face_mm, limit),
            bar,
            element("div", *ticks, class_="ends"),
            element("p", f"mm from the fitted head: blue behind it, red in front. {note}.", class_="muted"),
            class_="wide",
        ),
        class_="distance",
    )


def film_strip(take: Take, fit: FittedHead, frame: int) -> Markup:
    """Pictures of the camera that faces the subject, each above the fitted head from the same camera."""
    camera = best_view(take, fit, None, [frame])
    if camera is None:
        return sentence("The rig has no colour camera to show.")
    frames = sorted(
        {*np.linspace(0, take.frame_count - 1, min(FILM_FRAMES, take.frame_count)).round().astype(int).tolist()}
    )
    frames = [shown for shown in frames if fit.is_whole(shown)]
    if not frames:
        return sentence("No frame has a head that can be drawn.")
    if frame not in frames and fit.is_whole(frame):
        frames[int(np.argmin(np.abs(np.array(frames) - frame)))] = frame
    frames.sort()
    everything = np.concatenate([fit.vertices(number)[fit.face_region] for number in frames])
    shot = Shot.of_points(camera, everything, FILM_WIDTH)
    share, start_ns = FILM_BYTES // (2 * len(frames)), int(take.sync.time_ns[0])
    cells = []
    for shown in frames:
        image = take.frame(camera.id, shown)
        picture = np.zeros((*shot.size_hw, 3), np.uint8) if image is None else shot.picture(image)
        render = shot.drawing(fit.vertices(shown), fit.faces).shaded()
        strongest = int(fit.curves[shown].argmax()) if fit.curves.shape[1] else None
        time_s = (int(take.sync.time_ns[shown]) - start_ns) / 1e9
        caption = element("figcaption", element("b", f"{time_s:.2f} s"), f" frame {shown}")
        curve = element(
            "span",
            "" if strongest is None else f"{readable(fit.curve_names[strongest])} {fit.curves[shown, strongest]:.2f}",
            class_="muted",
        )
        images = (_image(picture, share, f"Frame {shown}"), _image(render, share, f"Fitted head, frame {shown}"))
        cells.append(element("figure", *images, caption, curve, class_="here" if shown == frame else None))
    return join(
        (
            element("div", *cells, class_="film"),
            element("p", f"Camera {camera.id}. Under each picture the curve that is strongest in it.", class_="muted"),
        )
    )


def _figure(pictures: list[Markup], name: str, notes: list[str], shot: Shot) -> Markup:
    rows, columns = shot.size_hw
    frame = element("div", *pictures, class_="frame", style=f"aspect-ratio:{columns}/{rows}", tabindex=0)
    caption = element("figcaption", element("b", name), *(element("span", note) for note in notes))
    return element("figure", frame, caption)


def _missing_figure(camera: Camera, frame: int) -> Markup:
    empty = element(
        "div", element("span", f"No frame in frame set {frame}"), class_="frame empty", style="aspect-ratio:4/5"
    )
    return element(
        "figure", empty, element("figcaption", element("b", camera.id), element("span", _calibration(camera)))
    )


def _image(picture: np.ndarray, share: int, words: str, class_: str | None = None) -> Markup:
    rows, columns = picture.shape[:2]
    return element("img", src=jpeg_uri(picture, share), alt=words, width=columns, height=rows, class_=class_)
