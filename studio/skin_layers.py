"""Layers of a painted head: skin with its pigments, lips, lids, brows, hair, eyes and the inside of the mouth.

Every layer is a smooth function of where a texel lies on the template, plus noise; both sides of the face follow the
same formula with their own noise. Lengths are metres on the default head's template.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32

from rendering.colour import srgb_to_linear
from studio.complexion import BLOOD_ABSORBANCE, MELANIN_ABSORBANCE, Complexion
from studio.texels import EYEBALL, MOUTH, SKIN, SOCKET, TONGUE, Texels

LIP_BORDER_RING = 7.2
"""Edge loop of the default head that runs along the vermilion border."""
IRIS_RADIUS_M = 0.0057
BROW_PIXEL_M = 1e-4
BROW_X, BROW_HEIGHT = (0.0105, 0.0535), ((0, 0.35, 0.65, 1), (0.0165, 0.0200, 0.0215, 0.0145))
"""Where brows begin and end sideways, and their height over the eyeball's centre along the way."""
HAIRLINE = np.array(
    [
        [0.0, 0.066],
        [0.35, 0.066],
        [0.65, 0.060],
        [0.85, 0.045],
        [1.05, 0.030],
        [1.22, 0.014],
        [1.32, -0.014],
        [1.44, -0.018],
        [1.56, 0.012],
        [1.95, 0.008],
        [2.1, -0.03],
        [2.4, -0.058],
        [3.2, -0.066],
    ]
)
"""Height of the hairline over the eyes by azimuth (radians from the front, about an axis 5 cm before the neck's)."""

CREASES_M = (0.0009, 0.0013, 0.0017, 0.0024, 0.0031, 0.0043)
"""Wavelengths of the lips' upright creases."""

Field = Float[np.ndarray, "n"]
Colours = Float[np.ndarray, "n 3"]


def smoothstep(low: float, high: float, values: Field) -> Field:
    """0 below `low`, 1 above `high` (or the reverse), smooth in between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(under: Colours, over: Colours | Float[np.ndarray, "3"], alpha: Field) -> Colours:
    """`over` painted on `under`."""
    return under + (over - under) * alpha[:, None]


def transmittance(melanin: Field, blood: Field) -> Colours:
    """What so much of the two pigments, over the skin's own share, lets through of red, green and blue."""
    return np.exp(-(melanin[:, None] * MELANIN_ABSORBANCE + blood[:, None] * BLOOD_ABSORBANCE))


class Brushes:
    """Noise and spots on the texels of one head, from one stream of random numbers."""

    def __init__(self, texels: Texels, random: np.random.Generator) -> None:
        self.texels = texels
        self.random = random

    def grain(self, sigma_px: float) -> Float32[np.ndarray, "n"]:
        """Noise of unit variance whose detail is about `sigma_px` texels wide."""
        size = self.texels.mask.shape[0]
        coarse = 4 if sigma_px >= 4 else 1
        noise = self.random.standard_normal((size // coarse, size // coarse), dtype=np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma_px / coarse)
        noise *= 1 / noise.std()
        if coarse > 1:
            noise = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
        return noise[self.texels.mask]

    def spots(self, count: int, radius_px: tuple[float, float], where: Field) -> Field:
        """Soft round spots in [0, 1], as many as asked, scattered with a density over the texels."""
        size = self.texels.mask.shape[0]
        image = np.zeros((size, size), np.uint8)
        chosen = self.random.choice(len(where), count, p=where / where.sum())
        places = np.flatnonzero(self.texels.mask)[chosen]
        radii = self.random.uniform(*radius_px, count)
        strength = self.random.uniform(90, 255, count)
        for place, radius, value in zip(places, radii, strength, strict=True):
            row, column = divmod(int(place), size)
            cv2.circle(image, (column * 16, row * 16), int(radius * 16), int(value), -1, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(image, (0, 0), 0.8)[self.texels.mask].astype(np.float32) / 255


def paint_skin(brushes: Brushes, person: Complexion) -> Colours:
    """Skin with blotches, pores, freckles, moles, flushed cheeks and nose, and darker surroundings of the eyes."""
    texels = brushes.texels
    x, y, z = np.abs(texels.position[:, 0]), texels.position[:, 1], texels.position[:, 2]
    eye, mouth, nose = np.abs(texels.eyes[0]).tolist(), texels.mouth.tolist(), texels.nose_tip.tolist()

    def near(place: tuple[float, float], radii: tuple[float, float]) -> Field:
        return np.exp(-(((x - place[0]) / radii[0]) ** 2) - ((y - place[1]) / radii[1]) ** 2) * (z > 0.04)

    blotch, mottle, pores = brushes.grain(24), brushes.grain(5), brushes.grain(1.1)
    cheeks = near((1.35 * eye[0], (eye[1] + mouth[1]) / 2 - 0.004), (0.018, 0.016))
    nostrils = near((0.0, nose[1]), (0.016, 0.012))
    ears = smoothstep(0.074, 0.082, x) * (z < 0.06)
    chin = near((0.0, mouth[1] - 0.035), (0.02, 0.012))
    blood = 0.38 * cheeks + 0.42 * nostrils + 0.45 * ears + 0.18 * chin + 0.06 * blotch + 0.05 * mottle
    socket = near((eye[0], eye[1] - 0.012), (0.017, 0.007)) + 0.7 * near((eye[0], eye[1] + 0.006), (0.019, 0.009))
    inner_corner = near((0.017, eye[1] - 0.004), (0.006, 0.008))
    folds = near((0.030, mouth[1]), (0.004, 0.006))
    melanin = 0.22 * socket + 0.15 * inner_corner + 0.12 * folds + 0.05 * blotch + 0.035 * mottle + 0.045 * pores
    blood = blood + 0.15 * socket + 0.1 * inner_corner
    face = ((texels.part == SKIN) & (z > 0.06)).astype(np.float64)
    density = face * (0.15 + np.exp(-(((y - eye[1] + 0.022) / 0.02) ** 2)))
    melanin = melanin + 0.55 * brushes.spots(person.freckles, (1.0, 2.6), density)
    melanin = melanin + 1.3 * brushes.spots(person.moles, (1.8, 3.6), face)
    return person.skin * transmittance(melanin, person.blood * blood)


def lip_cover(brushes: Brushes) -> Field:
    """1 on the vermilion of the lips, with a clear but uneven border."""
    ring = brushes.texels.lip_ring + 0.12 * brushes.grain(3)
    return smoothstep(LIP_BORDER_RING + 0.4, LIP_BORDER_RING - 0.4, ring) * (brushes.texels.part == SKIN)


def paint_lips(skin: Colours, lips: Field, brushes: Brushes, person: Complexion) -> Colours:
    """Redder and darker lips with fine upright creases, a pale roll around them and a dark line between them."""
    texels, random = brushes.texels, brushes.random
    chosen = np.flatnonzero((texels.lip_ring < LIP_BORDER_RING + 4) & (texels.part == SKIN))
    position, ring = texels.position[chosen], texels.lip_ring[chosen]
    phases = random.uniform(0, 2 * np.pi, len(CREASES_M)).astype(np.float32)
    waves = [
        np.sin(position[:, 0] * (2 * np.pi / width) + phase) for width, phase in zip(CREASES_M, phases, strict=True)
    ]
    creases = np.sum(waves, axis=0) / 3 + 0.4 * brushes.grain(1.5)[chosen]
    upper = smoothstep(-0.001, 0.001, position[:, 1] - texels.mouth[1])
    edge = smoothstep(3.2, 1.2, ring)
    blood = (1.0 + 0.12 * upper) * (0.55 + 0.45 * person.blood) + 0.5 * edge
    melanin = 0.08 + 0.10 * upper + 0.07 * creases + 0.7 * edge
    lip = skin[chosen] * transmittance(melanin, blood)
    roll = np.exp(-(((ring - LIP_BORDER_RING - 1.0) / 0.6) ** 2))
    painted = skin.copy()
    painted[chosen] = blend(skin[chosen] * (1 + 0.06 * roll[:, None]), lip, lips[chosen])
    return painted


def paint_lids(skin: Colours, brushes: Brushes, person: Complexion) -> Colours:
    """Lash lines (dark above, lighter below), wet rims, and the crease of the upper lid."""
    texels = brushes.texels
    chosen = np.flatnonzero((texels.lid_ring < 13) & (texels.part == SKIN))
    ring, under = texels.lid_ring[chosen], skin[chosen]
    above = smoothstep(-0.0005, 0.0012, texels.position[chosen, 1] - texels.eyes[0, 1] + 0.003)
    uneven = ring + 0.15 * brushes.grain(1.5)[chosen]
    pink = under * transmittance(np.full_like(ring, 0.1), np.full_like(ring, 0.55))
    crease = 0.35 * above * np.exp(-((ring - 9.0) ** 2))
    lid = blend(under, pink, 0.8 * smoothstep(2.4, 1.4, uneven)) * transmittance(crease, np.zeros_like(ring))
    upper = above * smoothstep(1.2, 2.2, uneven) * smoothstep(5.4, 4.0, uneven)
    lower = (1 - above) * smoothstep(1.6, 2.6, uneven) * smoothstep(4.4, 3.2, uneven)
    painted = skin.copy()
    painted[chosen] = blend(lid, 0.35 * person.hair, np.clip(0.92 * upper + 0.5 * lower, 0, 1))
    return painted


def paint_brows(skin: Colours, brushes: Brushes, person: Complexion) -> Colours:
    """Brows of single tapered hairs, drawn in front view and projected onto the forehead."""
    texels, random = brushes.texels, brushes.random
    eye = np.abs(texels.eyes[0]).tolist()
    half_width, low, high = 0.07, eye[1] - 0.005, eye[1] + 0.045
    image = np.zeros((round((high - low) / BROW_PIXEL_M), round(2 * half_width / BROW_PIXEL_M)), np.uint8)
    height = np.polynomial.Polynomial.fit(*BROW_HEIGHT, 3)
    hairs = int(420 * person.brow_thickness)
    for side in (-1, 1):
        along = random.beta(1.1, 1.25, hairs)
        half = np.interp(along, [0, 0.15, 0.6, 1], [0.0022, 0.0036, 0.0027, 0.0006]) * person.brow_thickness
        root_x = BROW_X[0] + along * (BROW_X[1] - BROW_X[0])
        root_y = eye[1] + height(along) + half * random.uniform(-1, 0.6, hairs)
        angle = np.radians(np.interp(along, [0, 0.2, 0.6, 1], [78, 45, 14, -22]) + random.normal(size=hairs) * 9)
        length = random.uniform(0.004, 0.0075, hairs) * np.interp(along, [0, 0.3, 1], [0.8, 1.0, 0.7])
        tip_x, tip_y = root_x + length * np.cos(angle), root_y + length * np.sin(angle)
        value = random.uniform(110, 235, hairs)
        for hair in range(hairs):
            root = _brow_pixel(side * root_x[hair], root_y[hair], half_width, high)
            tip = _brow_pixel(side * tip_x[hair], tip_y[hair], half_width, high)
            cv2.line(image, root, tip, int(value[hair]), 3, cv2.LINE_AA, 4)
    # A hair is a third of a texel wide: averaging over a texel first keeps thin hairs from breaking up.
    image = cv2.GaussianBlur(image, (0, 0), 1.6)
    chosen = np.flatnonzero(
        (texels.part == SKIN) & (np.abs(texels.position[:, 0]) < 0.066) & (texels.position[:, 2] > 0.09)
        & (texels.position[:, 1] > low + 0.002) & (texels.position[:, 1] < high - 0.002)
    )  # fmt: skip
    alpha = np.zeros(len(skin), np.float32)
    column = ((texels.position[chosen, 0] + half_width) / BROW_PIXEL_M).astype(int)
    row = ((high - texels.position[chosen, 1]) / BROW_PIXEL_M).astype(int)
    alpha[chosen] = image[row, column] / 255
    return blend(skin, 0.6 * person.hair, np.clip(1.15 * alpha, 0, 0.93))


def _brow_pixel(x: float | np.floating, y: float | np.floating, half_width: float, high: float) -> tuple[int, int]:
    return int((x + half_width) / BROW_PIXEL_M * 16), int((high - y) / BROW_PIXEL_M * 16)


def hair_cover(brushes: Brushes, person: Complexion) -> Field:
    """1 under the hair of the scalp, with a soft uneven hairline around the face, over the ears and at the nape."""
    x, y, z = brushes.texels.position.T
    azimuth = np.arctan2(np.abs(x), z - 0.05)
    over = y - brushes.texels.eyes[0, 1] - np.interp(azimuth, *HAIRLINE.T)
    over = over + 0.0022 * brushes.grain(14) + 0.0012 * brushes.grain(1.6)
    ear = smoothstep(0.0755, 0.078, np.abs(x)) * smoothstep(0.022, 0.016, y - brushes.texels.eyes[0, 1])
    return smoothstep(-0.005, 0.010, over) * (1 - ear) * person.hair_cover * (brushes.texels.part == SKIN)


def paint_hair(skin: Colours, cover: Field, brushes: Brushes, person: Complexion) -> Colours:
    """Short hair in strands that run away from the crown."""
    x, y, z = brushes.texels.position.T
    strands = brushes.random.standard_normal((64, 2048), dtype=np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), 1.2)
    strands *= 1 / strands.std()
    column = ((np.arctan2(x, z - 0.01) / (2 * np.pi) + 0.5) * 2047).astype(int)
    row = np.clip((y - 0.06) / 0.22 * 63, 0, 63).astype(int)
    tone = np.exp(0.22 * strands[row, column] + 0.15 * brushes.grain(1.3))
    return blend(skin, person.hair * np.clip(tone, 0.4, 2.2)[:, None], cover)


def paint_stubble(skin: Colours, lips: Field, brushes: Brushes, person: Complexion) -> Colours:
    """A shadow of beard with single dark dots, over the lip, on the chin and along the jaw."""
    if person.stubble == 0:
        return skin
    texels = brushes.texels
    x, y, z = np.abs(texels.position[:, 0]), texels.position[:, 1], texels.position[:, 2]
    mouth, nose = texels.mouth.tolist(), texels.nose_tip.tolist()
    jaw = smoothstep(0.012, -0.004, y - (mouth[1] + np.clip(x - 0.030, 0, 1) * 1.35))
    over_lip = smoothstep(nose[1] - 0.008, nose[1] - 0.014, y) * smoothstep(0.034, 0.026, x)
    area = np.maximum(jaw, over_lip) * smoothstep(0.025, 0.045, y) * smoothstep(0.03, 0.05, z) * (1 - lips)
    dots = smoothstep(0.4, 1.6, brushes.grain(0.9))
    shadow = person.stubble * area * (0.24 + 0.3 * dots) * (texels.part == SKIN)
    return blend(skin, person.hair * np.array([0.8, 0.9, 1.05], np.float32), shadow)


def paint_eyes(colours: Colours, brushes: Brushes, person: Complexion) -> Colours:
    """Eyeballs: sclera with veins and a pink inner corner, iris with fibres and a dark limbal ring, pupil."""
    texels = brushes.texels
    ball = np.flatnonzero(texels.part == EYEBALL)
    x, y, z = texels.position[ball].T
    centres = np.where(x[:, None] * texels.eyes[0, 0] > 0, texels.eyes[0], texels.eyes[1])
    dx, dy = x - centres[:, 0], y - centres[:, 1]
    pupils = np.where(x[:, None] * texels.pupils[0, 0] > 0, texels.pupils[0], texels.pupils[1])
    from_pupil = np.stack([x, y]) - pupils[:, :2].T
    radius = np.where(z > centres[:, 2], np.hypot(*from_pupil), 1.0)
    veins = smoothstep(0.10, 0.0, np.abs(brushes.grain(5)[ball])) * smoothstep(0.006, 0.013, radius)
    inner = smoothstep(0.008, 0.014, -dx * np.sign(x))
    blood = 0.35 * veins + 0.8 * inner + 0.06 * brushes.grain(8)[ball]
    sclera = srgb_to_linear(np.array([214, 205, 198], np.uint8)) * transmittance(np.zeros_like(blood), blood)

    angle = np.arctan2(from_pupil[1], from_pupil[0])
    counts = (11, 17, 23, 31, 47)
    phases = brushes.random.uniform(0, 2 * np.pi, len(counts))
    fibres = np.sum([np.sin(count * angle + phase) for count, phase in zip(counts, phases, strict=True)], axis=0) / 3
    share = np.clip(radius / IRIS_RADIUS_M, 0, 1)
    collarette = 0.55 * np.exp(-(((share - 0.52) / 0.2) ** 2))
    limbal_ring = 1 - 0.72 * smoothstep(0.78, 1, share)
    iris = person.iris * np.clip((0.75 + collarette + 0.16 * fibres) * limbal_ring, 0.15, 2)[:, None]
    iris = blend(iris, np.full(3, 0.004, np.float32), smoothstep(0.0024, 0.0020, radius))
    # The lids' shadow: an eyeball's own openness is bounded below, because it turns under them.
    shadow = 0.75 * smoothstep(0.0005, 0.0045, dy) + 0.35 * smoothstep(-0.002, -0.006, dy)
    shadow = shadow + 0.3 * smoothstep(0.008, 0.013, np.abs(dx))
    eyes = blend(sclera, iris, smoothstep(IRIS_RADIUS_M + 0.0003, IRIS_RADIUS_M - 0.0003, radius))
    painted = colours.copy()
    painted[ball] = eyes * np.exp(-shadow)[:, None]
    return painted


def paint_insides(colours: Colours, brushes: Brushes) -> Colours:
    """Dark red mouth, paler tongue, pink insides of the lids."""
    texels, painted = brushes.texels, colours.copy()
    depth = smoothstep(0.002, -0.025, texels.position[:, 2] - texels.mouth[2])
    wet = 1 + 0.12 * brushes.grain(4)
    for part, front, back in ((MOUTH, [0.16, 0.045, 0.04], 0.09), (TONGUE, [0.30, 0.10, 0.09], 0.1)):
        chosen = texels.part == part
        tone = wet[chosen] * (1 + (back - 1) * depth[chosen])
        painted[chosen] = tone[:, None] * np.array(front, np.float32)
    sockets = texels.part == SOCKET
    painted[sockets] *= np.exp(-0.6 * BLOOD_ABSORBANCE)
    return painted
