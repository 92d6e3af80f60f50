"""Scenes to be photographed: a person, or a picture of a person held before the camera.

A subject is (picture float32 [h, w, 3] RGB 0..1, box [4] of the face in it). A scene is the same kind of pair. The living and
the recaptured are framed alike, warped by the same code, and lit alike: what tells them apart is to be the medium alone.
"""

import cv2
import numpy as np

import hands
from media import Print, Screen
from optics import blurred, camera, smooth_noise
from sheets import sheet_of

# Height of the face's box in a scene, in pixels.
SMALLEST, LARGEST = 56, 220
# The share of recaptures that fill the view, so that no edge of the medium shows.
FILLING = 0.3


def height_of(subject, random):
    """How high, in pixels, the face is to be: not above what its picture has to give."""
    _, _, _, native = _size(subject[1])
    return min(native, float(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST)))))


def frame_of(subject, random):
    """How far a photograph goes beyond the face's box on its four sides, in sides of the box: as the subject's picture does, or less."""
    picture, box = subject
    _, _, width, height = _size(box)
    margins = np.array([box[0], box[1], picture.shape[1] - box[2], picture.shape[0] - box[3]]) / [width, height, width, height]
    margins = np.maximum(margins, 0) * random.uniform(0.9, 1)
    return margins * random.uniform(0.3, 1, 4) if random.random() < 0.4 else margins


def scaled(subject, height):
    """The subject with a face of this height."""
    picture, box = subject
    factor = height / _size(box)[3]
    if factor != 1:
        size = [max(1, round(n * factor)) for n in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return picture, np.asarray(box) * factor


def living(subject, frame, random):
    """The person as they are, sometimes with a poster or a screen behind, a hand before them, or in their own hand."""
    picture, box = subject
    if random.random() < 0.12:
        picture = _with_distractor(picture.copy(), box, random)
    size, matrix = _placed(box, frame, 0.35, random)
    (scene,), _, _ = _projected((picture,), (cv2.BORDER_REFLECT,), matrix, size, 0, random)
    face = _moved_box(box, matrix)
    if random.random() < 0.08:
        _hand_near(scene, face, hands.skin_of(picture, box, random), random)
    return scene, face


def recaptured(subject, frame, backdrop, random, kind):
    """The subject's picture on paper or a screen, before the camera: a scene. `backdrop`: (picture, box or None)."""
    picture, box = subject
    height = _size(box)[3]
    if random.random() < 0.6:
        picture, factor = camera(picture, random, harshness=random.uniform(0.3, 0.75))
        picture, box = scaled((picture.astype(np.float32) / 255, box * factor), height)
    medium = (Print if kind == "print" else Screen)(random)
    if random.random() < FILLING:
        return _filling(picture, box, frame_of((picture, box), random), medium, backdrop, random)
    return _held(picture, box, frame, medium, backdrop, random)


def photographed(scene, box, random):
    """(photograph uint8, box in it)"""
    if random.random() < 0.35:  # light from one side
        scene = scene * (1 + random.uniform(0, 0.4) * smooth_noise(scene.shape, int(random.integers(1, 3)), random))[..., None]
    photograph, factor = camera(scene, random)
    if random.random() < 0.04:  # bars beside a picture of another shape
        across = random.random() < 0.5
        depth = int(photograph.shape[across] * random.uniform(0.02, 0.12))
        photograph = photograph.transpose(1, 0, 2).copy() if across else photograph.copy()
        photograph[:depth] = photograph[len(photograph) - depth :] = 0 if random.random() < 0.7 else random.integers(0, 256, 3)
        photograph = np.ascontiguousarray(photograph.transpose(1, 0, 2)) if across else photograph
    return photograph, np.asarray(box) * factor


def _filling(picture, box, frame, medium, backdrop, random):
    """Only the medium is seen: nearly the whole picture, a little warped."""
    picture = medium.tone(picture)
    size, matrix = _placed(box, frame * 0.95, 0.6, random)
    bend = _bend(box, medium, random)
    (shown,), place, shade = _projected((picture,), (cv2.BORDER_REFLECT,), matrix, size, bend, random)
    face = _moved_box(box, matrix)
    return medium.lit(medium.structured(shown, place) * shade, place, _behind(backdrop, size, face, random)), face


def _held(picture, box, frame, medium, backdrop, random):
    """A sheet or a device within a larger scene, often held by a hand."""
    sheet = sheet_of(picture, box, medium, random)
    size, matrix = _placed(sheet.box, frame, 1.0, random)
    layers = (sheet.page, sheet.active, sheet.outline)
    borders = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_CONSTANT)
    (shown, active, outer), place, shade = _projected(layers, borders, matrix, size, _bend(sheet.box, medium, random), random)
    face = _moved_box(sheet.box, matrix)
    behind = _behind(backdrop, size, face, random) * random.uniform(*((0.2, 1.1) if medium.kind == "screen" else (0.5, 1.1)))
    skin = hands.skin_of(backdrop[0], backdrop[1], random) * np.float32(random.uniform(0.6, 1.1))
    edges = _edges(outer, face, random) if random.random() < 0.65 else []
    thick = (face[3] - face[1]) * random.uniform(0.08, 0.24)
    behind = behind * (1 - _shadow(outer, face, random)[..., None])
    for at, inward in edges:
        if random.random() < 0.6:
            hands.fist(behind, at, -inward, thick, skin, random)
    lit = shown + (medium.structured(shown, place) - shown) * active[..., None]
    lit = medium.lit(lit * shade, place, behind if random.random() < 0.5 else behind[:, ::-1])
    scene = behind * (1 - outer[..., None]) + lit * outer[..., None]
    for at, inward in edges:
        hands.fingers(scene, at, inward, thick, skin, random)
    return scene, face


def _size(box):
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def _placed(box, frame, tilt, random):
    """(size [2] of a scene with this frame, matrix [3, 3]: picture -> scene): turned a little and seen from a little aside."""
    _, _, width, height = _size(box)
    size = (max(48, int(width * (1 + frame[0] + frame[2]))), max(48, int(height * (1 + frame[1] + frame[3]))))
    middle = np.array([width * (frame[0] + 0.5), height * (frame[1] + 0.5)])
    angle = np.radians(random.normal(0, 6) * tilt)
    cosine, sine = np.cos(angle), np.sin(angle)
    stretch = 1 + random.normal(0, 0.05) * tilt
    linear = np.array([[cosine * stretch, -sine, 0], [sine * stretch, cosine, 0], [0, 0, 1]])
    to_origin = np.array([[1, 0, -(box[0] + box[2]) / 2], [0, 1, -(box[1] + box[3]) / 2], [0, 0, 1.0]])
    aside = np.eye(3)
    aside[2, :2] = random.normal(0, 0.055, 2) * tilt / height
    to_middle = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1.0]])
    return size, to_middle @ aside @ linear @ to_origin


def _bend(box, medium, random):
    """How far curled paper comes out of its plane, in pixels."""
    return (box[3] - box[1]) * random.normal(0, 0.08) if medium.kind == "print" and random.random() < 0.5 else 0


def _projected(layers, borders, matrix, size, bend, random):
    """([layers as seen], their places on the medium, how light falls on the bent [h, w, 1])"""
    inverse = np.linalg.inv(matrix).astype(np.float32)
    ys, xs = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    barrel = float(random.normal(0, 0.025))
    middle = size[0] / 2, size[1] / 2
    factor = 1 + barrel * (np.square(xs - middle[0]) + np.square(ys - middle[1])) / (middle[0] ** 2 + middle[1] ** 2)
    xs, ys = (xs - middle[0]) * factor + middle[0], (ys - middle[1]) * factor + middle[1]
    depth = inverse[2, 0] * xs + inverse[2, 1] * ys + inverse[2, 2]
    u = (inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]) / depth
    v = (inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]) / depth
    shade = np.ones((1, 1, 1), np.float32)
    if bend:
        along, across = (u, v) if random.random() < 0.7 else (v, u)
        period = float(random.uniform(0.8, 4)) * min(size)
        phase = along * (2 * np.pi / period) + random.uniform(0, 6)
        across += float(bend) * np.sin(phase)
        slope = float(bend) * 2 * np.pi / period * np.cos(phase)
        shade = (1 + np.float32(random.normal(0, 1.2)) * slope)[..., None].clip(0.4, 1.6)
    seen = []
    for layer, border in zip(layers, borders):
        seen.append(cv2.remap(layer, u, v, cv2.INTER_LINEAR, borderMode=border))
    return seen, (u, v), shade


def _moved_box(box, matrix):
    left, top, right, bottom = box
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ matrix.T
    corners = corners[:, :2] / corners[:, 2:]
    return np.array([corners[[0, 3], 0].mean(), corners[:2, 1].mean(), corners[1:3, 0].mean(), corners[2:, 1].mean()])


def _behind(backdrop, size, face, random):
    """What is seen around the medium: its holder, a room, a desk, or a plain wall."""
    width, height = size
    picture, box = backdrop
    if random.random() < 0.2:
        colour = np.clip(random.normal(0.55, 0.2) + random.normal(0, 0.06, 3), 0.03, 0.97).astype(np.float32)
        behind = colour + random.uniform(0.02, 0.15) * smooth_noise((height, width), 3, random)[..., None]
        return np.clip(behind, 0, 1)
    if box is not None and random.random() < 0.6:  # the holder stands behind the medium
        factor = random.uniform(0.6, 1.4) * (face[3] - face[1]) / (box[3] - box[1])
        centre = (box[:2] + box[2:]) / 2
        shift = (face[:2] + face[2:]) / 2 + random.normal(0, 0.3, 2) * (face[3] - face[1]) - centre * factor
    else:
        factor = max(width / picture.shape[1], height / picture.shape[0]) * random.uniform(1.0, 2.0)
        slack = np.array([picture.shape[1] * factor - width, picture.shape[0] * factor - height])
        shift = -random.uniform(0, 1, 2) * np.maximum(slack, 0)
    matrix = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
    source = blurred(picture, 0.4 / factor if factor < 1 else 0)
    behind = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.clip(blurred(behind, random.uniform(0, 4) if random.random() < 0.5 else 0), 0, 1)


def _shadow(outer, face, random):
    """What the medium keeps of the light from what is behind it."""
    reach = (face[3] - face[1]) / 12
    shift = random.uniform(-reach, reach, 2)
    moved = cv2.warpAffine(outer, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), outer.shape[::-1])
    return random.uniform(0, 0.6) * cv2.GaussianBlur(moved, (0, 0), random.uniform(0.2, 1) * reach + 0.5)


def _edges(outer, face, random):
    """One or two places at the medium's edge, outside of the face, and the direction to its middle."""
    edge = np.argwhere((outer > 0.3) & (outer < 0.7))[:, ::-1]
    middle = (face[:2] + face[2:]) / 2
    edge = edge[(np.abs(edge - middle) / ((face[2:] - face[:2]) / 2)).max(1) > 1.15]
    found = []
    for _ in range(1 + (random.random() < 0.35)):
        if len(edge):
            at = edge[random.integers(len(edge))].astype(float)
            inward = (middle - at) / (np.linalg.norm(middle - at) + 1e-6) + random.normal(0, 0.35, 2)
            found.append((at, inward / np.linalg.norm(inward)))
    return found


def _hand_near(scene, face, skin, random):
    """Fingers at a living face's chin, cheek or hair, or in the foreground."""
    angle = random.uniform(0, 2 * np.pi)
    outward = np.array([np.cos(angle), np.sin(angle)])
    size = face[2:] - face[:2]
    at = (face[:2] + face[2:]) / 2 + outward * size * random.uniform(0.45, 1.1)
    hands.fingers(scene, at, -outward, size[1] * random.uniform(0.08, 0.2), skin, random)


def _with_distractor(picture, box, random):
    """A framed picture, a sheet or a monitor beside the head and above what is below it."""
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
    if random.random() < 0.5:  # another picture, out of the same one
        inside = cv2.resize(picture[: int(height * random.uniform(0.4, 1))], patch.shape[1::-1], interpolation=cv2.INTER_AREA)
    frame = max(1, int(min(patch.shape[:2]) * random.uniform(0.02, 0.12)))
    inside[:frame] = inside[-frame:] = inside[:, :frame] = inside[:, -frame:] = random.uniform(0, 1)
    picture[int(y) : int(y + h), int(x) : int(x + w)] = np.clip(inside, 0, 1)
    region = np.s_[max(0, int(y) - 6) : int(y + h) + 6, max(0, int(x) - 6) : int(x + w) + 6]
    picture[region] = blurred(picture[region], random.uniform(0.3, 2))
    return picture
