"""Scenes to be photographed: a person, or a picture of a person held before the camera.

A subject is (picture float32 [h, w, 3] RGB 0..1, box [4] of the face in it). A scene is the same kind of pair.
"""

import cv2
import numpy as np

from media import Print, Screen
from optics import blurred, camera, smooth_noise, to_bytes

# Height of the face's box in a scene, in pixels: a little more than the largest chip shows of it.
FACE = 120


def living(subject, random):
    """The subject as it is, sometimes with a poster or a screen far behind."""
    picture, box = subject
    if random.random() < 0.1:
        picture = _with_distractor(picture.copy(), box, random)
    return picture, box


def recaptured(subject, backdrop, random, kind=None):
    """The subject's picture on paper or a screen, before the camera. Returns (scene, box, kind).

    In a third of the scenes the medium fills the view, so that no edge of it shows.
    """
    first, factor = camera(subject[0], random, harshness=0.6)
    picture, box = first.astype(np.float32) / 255, np.asarray(subject[1]) * factor
    kind = kind or ("print" if random.random() < 0.5 else "screen")
    medium = (Print if kind == "print" else Screen)(random)
    picture = medium.tone(picture)
    if random.random() < 0.34:
        scene, box = _filling(picture, box, medium, random)
    else:
        scene, box = _held(picture, box, medium, backdrop, random)
    return scene, box, kind


def _filling(picture, box, medium, random):
    """Only the medium is seen: nearly the whole picture, a little warped."""
    height, width = picture.shape[:2]
    scale = FACE / (box[3] - box[1]) * random.uniform(0.9, 1.1)
    inset = random.uniform(0.02, 0.08, 4) * [width, height, width, height]
    left, top, right, bottom = np.array([0, 0, width, height]) + inset * [1, 1, -1, -1]
    size = (max(64, int((right - left) * scale)), max(64, int((bottom - top) * scale)))
    matrix = _projection((left + right) / 2, (top + bottom) / 2, scale, size, 0.5, random)
    shown, place, _ = _project(picture, matrix, size, scale, medium, random)
    return medium.lit(medium.structured(shown, place), place), _moved_box(box, matrix)


def _held(picture, box, medium, backdrop, random):
    """A sheet or a device within a larger scene, often held by a hand."""
    height, width = picture.shape[:2]
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    scale = FACE / box_height * random.uniform(0.85, 1.1)
    # how much of the picture the sheet or the screen shows around the face
    around = box + np.array([-1, -1, 1, 1]) * random.uniform(0.08, 1.1, 4) * [box_width, box_height * 0.7, box_width, box_height]
    sheet = np.clip(around, 0, [width, height, width, height])
    context = random.uniform(1.7, 3.6, 2)
    size = (int(FACE * 0.85 * context[0]), int(FACE * context[1]))
    centre = (box[:2] + box[2:]) / 2 + random.normal(0, 0.12, 2) * [box_width, box_height]
    matrix = _projection(*centre, scale, size, 1.0, random)
    shown, place, inverse = _project(picture, matrix, size, scale, medium, random)
    u, v = inverse
    soft = random.uniform(0.6, 1.6)
    inner = _inside(u, v, sheet, scale, soft, 0.0)
    border = _border(medium, box_width, random)
    outer = _inside(u, v, sheet + border[0], scale, soft, border[1] * scale)
    if medium.kind == "print" and random.random() < 0.12:
        inner = outer = _cut_out(u, v, box, sheet, scale, soft, random) * inner
    face = _moved_box(box, matrix)
    behind = _behind(backdrop, size, face, medium, random)
    lit = medium.structured(shown, place)
    lit = lit * inner[..., None] + border[2] * (1 - inner[..., None])
    lit = medium.lit(lit, place)
    behind = behind * (1 - _shadow(outer, random)[..., None])
    scene = behind * (1 - outer[..., None]) + lit * outer[..., None]
    if random.random() < 0.5:
        scene = _fingers(scene, outer, face, random)
    return scene, face


def _projection(cx, cy, scale, size, tilt, random):
    """[3, 3]: picture -> scene, (cx, cy) to the middle, turned a little and seen from a little aside."""
    angle = np.radians(random.normal(0, 5) * tilt)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    stretch = 1 + random.normal(0, 0.05) * tilt
    linear = np.array([[cosine * stretch, -sine, 0], [sine * stretch, cosine, 0], [0, 0, 1]])
    to_origin = np.array([[1, 0, -cx], [0, 1, -cy], [0, 0, 1.0]])
    aside = np.eye(3)
    aside[2, :2] = random.normal(0, 0.00045, 2) * tilt
    to_middle = np.array([[1, 0, size[0] / 2], [0, 1, size[1] / 2], [0, 0, 1.0]])
    return to_middle @ aside @ linear @ to_origin


def _project(picture, matrix, size, scale, medium, random):
    """(picture as seen [h, w, 3], its places on the medium in scene pixels, its places in picture pixels)."""
    inverse = np.linalg.inv(matrix).astype(np.float32)
    ys, xs = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    depth = inverse[2, 0] * xs + inverse[2, 1] * ys + inverse[2, 2]
    u = (inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]) / depth
    v = (inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]) / depth
    if medium.kind == "print" and random.random() < 0.5:  # curled paper
        curl = random.normal(0, 5) / scale
        v = v + float(curl) * np.sin(u * float(scale) / random.uniform(40, 120) + random.uniform(0, 6))
    source = blurred(picture, 0.45 / scale if scale < 1 else random.uniform(0, 0.5))
    shown = cv2.remap(source, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return shown, (u * float(scale), v * float(scale)), (u, v)


def _moved_box(box, matrix):
    left, top, right, bottom = box
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ matrix.T
    corners = corners[:, :2] / corners[:, 2:]
    return np.array([corners[[0, 3], 0].mean(), corners[:2, 1].mean(), corners[1:3, 0].mean(), corners[2:, 1].mean()])


def _inside(u, v, sheet, scale, soft, radius):
    """How much of each pixel lies within the rectangle, its corners rounded by `radius` scene pixels: 0..1."""
    scale, radius = float(scale), float(radius)
    cx, cy = float(sheet[0] + sheet[2]) / 2, float(sheet[1] + sheet[3]) / 2
    half_width, half_height = float(sheet[2] - sheet[0]) / 2 * scale, float(sheet[3] - sheet[1]) / 2 * scale
    dx = np.abs(u - cx) * scale - half_width + radius
    dy = np.abs(v - cy) * scale - half_height + radius
    distance = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius
    return np.clip(0.5 - distance / soft, 0, 1)


def _cut_out(u, v, box, sheet, scale, soft, random):
    """A head and shoulders cut out of the paper, roughly."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    a, b = (box[2] - box[0]) * random.uniform(0.62, 0.8), (box[3] - box[1]) * random.uniform(0.6, 0.75)
    angle = np.arctan2(v - cy, u - cx)
    wobble = 1 + 0.04 * np.sin(3 * angle + random.uniform(0, 6)) + 0.03 * np.sin(7 * angle + random.uniform(0, 6))
    head = (np.hypot((u - cx) / a, (v - cy) / b) - wobble) * min(a, b) * scale
    shoulders = np.maximum(np.abs(u - cx) - a * random.uniform(1.2, 1.9), box[3] - v) * scale
    return np.clip(0.5 - np.minimum(head, shoulders) / soft, 0, 1).astype(np.float32)


def _border(medium, box_width, random):
    """(growth of the sheet on its four sides, corner radius, colour): a margin of paper, a device's frame."""
    if medium.kind == "print":
        wide = random.uniform(0, 0.3, 4) * box_width if random.random() < 0.55 else np.zeros(4)
        colour = medium.paper
        return wide * [-1, -1, 1, 1], 0.0, colour
    side, ends = random.uniform(0.02, 0.16) * box_width, random.uniform(0.02, 0.45, 2) * box_width
    if random.random() < 0.3:  # held upright or not, the long frames are at the ends
        side, ends = random.uniform(0.02, 0.4) * box_width, random.uniform(0.02, 0.16, 2) * box_width
    grey = random.uniform(0.01, 0.14) if random.random() < 0.85 else random.uniform(0.6, 0.95)
    colour = np.clip(grey + random.normal(0, 0.01, 3), 0, 1).astype(np.float32)
    return np.array([-side, -ends[0], side, ends[1]]), random.uniform(0, 0.15) * box_width, colour


def _behind(backdrop, size, face, medium, random):
    """What is seen around the medium: a room, or a plain wall; darker where a screen lights the picture."""
    width, height = size
    if backdrop is None or random.random() < 0.2:
        colour = np.clip(random.normal(0.55, 0.2) + random.normal(0, 0.06, 3), 0.03, 0.97).astype(np.float32)
        behind = colour + random.uniform(0.02, 0.15) * smooth_noise((height, width), 3, random)[..., None]
    else:
        picture, box = backdrop
        if box is not None and random.random() < 0.6:  # the holder stands behind the medium
            scale = random.uniform(0.7, 1.3) * FACE / (box[3] - box[1])
            centre = (box[:2] + box[2:]) / 2
            shift = (face[:2] + face[2:]) / 2 + random.normal(0, 0.2, 2) * FACE - centre * scale
        else:
            scale = max(width / picture.shape[1], height / picture.shape[0]) * random.uniform(1.0, 2.0)
            slack = np.array([picture.shape[1] * scale - width, picture.shape[0] * scale - height])
            shift = -random.uniform(0, 1, 2) * np.maximum(slack, 0)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        source = blurred(picture, 0.4 / scale if scale < 1 else 0)
        behind = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        behind = blurred(behind, random.uniform(0, 4) if random.random() < 0.6 else 0)
    return np.clip(behind, 0, 1) * random.uniform(*((0.35, 1.1) if medium.kind == "screen" else (0.6, 1.1)))


def _shadow(outer, random):
    """What the medium keeps of the light from what is behind it."""
    shift = random.uniform(-8, 8, 2)
    moved = cv2.warpAffine(outer, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), outer.shape[::-1])
    return random.uniform(0, 0.5) * cv2.GaussianBlur(moved, (0, 0), random.uniform(2, 9))


def _fingers(scene, outer, face, random):
    """One to four fingers, or a thumb, over an edge of the medium, outside of the face."""
    height, width = outer.shape
    edge = np.argwhere((outer > 0.4) & (outer < 0.6))
    away = np.abs(edge[:, ::-1] - (face[:2] + face[2:]) / 2) / ((face[2:] - face[:2]) / 2)
    edge = edge[away.max(1) > 1.15]
    if len(edge) == 0:
        return scene
    y, x = edge[random.integers(len(edge))]
    centre = np.array([width, height]) / 2
    inward = (centre - [x, y]) / (np.linalg.norm(centre - [x, y]) + 1e-6)
    thick = FACE * random.uniform(0.08, 0.16)
    skin = np.array([0.80, 0.60, 0.50]) * random.uniform(0.3, 1.15) + random.normal(0, 0.03, 3)
    mask = np.zeros((height, width), np.float32)
    for finger in range(int(random.choice([1, 1, 2, 3, 4]))):
        across = np.array([-inward[1], inward[0]]) * thick * 1.05 * finger
        tip = np.array([x, y]) + across + inward * thick * random.uniform(0.6, 2.2)
        root = np.array([x, y]) + across - inward * thick * 8
        cv2.line(mask, [int(v) for v in tip], [int(v) for v in root], 1.0, max(3, int(thick)))
    mask = cv2.GaussianBlur(mask, (0, 0), random.uniform(0.7, 1.6))[..., None]
    shading = cv2.GaussianBlur(mask, (0, 0), thick / 3)[..., None]
    colour = np.clip(skin, 0.03, 1).astype(np.float32)
    left, top, wide, high = cv2.boundingRect((shading[..., 0] > 0.002).astype(np.uint8))
    region = np.s_[top : top + high, left : left + wide]
    scene[region] = scene[region] * (1 - mask[region]) + colour * (0.65 + 0.4 * shading[region]) * mask[region]
    return scene


def _with_distractor(picture, box, random):
    """A framed picture or a monitor on the wall, clear of the head and of what is below it."""
    height, width = picture.shape[:2]
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    right = random.random() < 0.5
    room = width - box[2] - 0.35 * box_width if right else box[0] - 0.35 * box_width
    if room < 0.3 * box_width:
        return picture
    w, h = random.uniform(0.3, 1) * room, random.uniform(0.3, 1) * box_height
    x = box[2] + 0.35 * box_width + random.uniform(0, room - w) if right else random.uniform(0, room - w)
    y = random.uniform(0, max(1, box[3] - h))
    patch = picture[int(y) : int(y + h), int(x) : int(x + w)]
    if min(patch.shape[:2]) < 8:
        return picture
    colour = random.uniform(0, 1, 3).astype(np.float32)
    inside = colour + 0.2 * smooth_noise(patch.shape, 5, random)[..., None]
    frame = max(1, int(min(patch.shape[:2]) * random.uniform(0.02, 0.12)))
    inside[:frame] = inside[-frame:] = inside[:, :frame] = inside[:, -frame:] = random.uniform(0, 1)
    picture[int(y) : int(y + h), int(x) : int(x + w)] = np.clip(inside, 0, 1)
    region = np.s_[max(0, int(y) - 6) : int(y + h) + 6, max(0, int(x) - 6) : int(x + w) + 6]
    picture[region] = blurred(picture[region], random.uniform(0.3, 2))
    return picture


def photographed(scene, box, random):
    """(photograph uint8, box in it)"""
    photograph, factor = camera(scene, random)
    return photograph, np.asarray(box) * factor


__all__ = ["FACE", "living", "photographed", "recaptured", "to_bytes"]
