"""Hands, roughly: fingers over an edge, a fist behind a sheet."""

import numpy as np

from optics import blurred, smooth_noise

SKIN = np.array([0.80, 0.60, 0.50])


def skin_of(picture, box, random):
    """The colour of a hand like the face in the picture; any colour of skin where there is none."""
    colour = SKIN * random.uniform(0.3, 1.15)
    if box is not None:
        left, top, right, bottom = (int(v) for v in box)
        cheeks = picture[max(0, (top + bottom) // 2) : bottom, max(0, left) : right].reshape(-1, 3)
        colour = np.median(cheeks, 0) if len(cheeks) else colour
    return np.clip(colour * random.uniform(0.75, 1.15) + random.normal(0, 0.02, 3), 0.03, 1).astype(np.float32)


def fingers(scene, at, inward, thick, skin, random):
    """One to four fingers, or a thumb, reaching `inward` (unit vector) over the point `at`. Changes the scene."""
    across = np.array([-inward[1], inward[0]])
    count = int(random.choice([1, 1, 1, 2, 3, 4]))
    bent = random.normal(0, 0.25)
    for finger in range(count):
        start = np.asarray(at) + across * thick * 1.02 * finger
        tip = start + inward * thick * random.uniform(0.5, 2.0)
        root = start - (inward + across * bent) * thick * 9
        _capsule(scene, tip, root, thick * random.uniform(0.42, 0.55), skin * random.uniform(0.95, 1.05), random)


def fist(scene, at, outward, thick, skin, random):
    """What is seen of the hand behind a sheet, and of the arm. Changes the scene."""
    at = np.asarray(at) + outward * thick * random.uniform(-0.5, 1.0)
    _capsule(scene, at, at + outward * thick * random.uniform(6, 14), thick * random.uniform(1.2, 2.2), skin, random, nail=False)


def _capsule(scene, tip, root, radius, skin, random, nail=True):
    height, width = scene.shape[:2]
    low = np.floor(np.minimum(tip, root) - radius * 1.5 - 2).astype(int)
    high = np.ceil(np.maximum(tip, root) + radius * 1.5 + 2).astype(int)
    (x0, y0), (x1, y1) = np.clip(low, 0, [width, height]), np.clip(high, 0, [width, height])
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    axis = root - tip
    length = float(np.linalg.norm(axis)) + 1e-6
    ux, uy = (float(v) for v in axis / length)
    px, py = xs - float(tip[0]), ys - float(tip[1])
    along, aside = px * ux + py * uy, py * ux - px * uy
    grown = radius * (0.85 + 0.3 * np.clip(along / (6 * radius), 0, 1))  # thicker towards the root
    distance = np.hypot(np.clip(-along, 0, None) * 0.9, aside) / grown
    mask = np.clip((1 - distance) * radius / random.uniform(0.8, 1.6) + 0.5, 0, 1)
    light = random.uniform(-0.6, 0.6)  # from one side
    shade = 0.62 + 0.4 * np.sqrt(np.clip(1 - np.square(distance), 0, 1)) + 0.15 * light * np.clip(aside / grown, -1, 1)
    shade = shade * (1 + 0.06 * smooth_noise(shade.shape, 6, random))
    colour = skin * shade[..., None]
    if nail and random.random() < 0.4:
        spot = np.clip(1.3 - np.hypot((along - 0.3 * radius) / (0.7 * radius), aside / (0.5 * radius)), 0, 0.3)[..., None] / 0.3
        colour = colour * (1 - 0.5 * spot) + (skin * 0.6 + np.float32(0.35)) * 0.5 * spot
    region = scene[y0:y1, x0:x1]
    shadow = blurred(mask, max(0.6, 0.35 * radius))[..., None] * np.float32(random.uniform(0, 0.5))
    region *= 1 - shadow * (1 - mask[..., None])
    region *= 1 - mask[..., None]
    region += np.clip(colour, 0, 1) * mask[..., None]
