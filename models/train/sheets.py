"""What is held before the camera, flat as it lies on a desk: paper with its margins, or a device with its frame and controls."""

from dataclasses import dataclass

import cv2
import numpy as np

from optics import blurred, smooth_noise


@dataclass
class Sheet:
    """`page` [h, w, 3] as the medium renders it; `active` [h, w]: 1 where it prints or shines, 0 on a device's frame;
    `outline` [h, w]: 1 within the sheet; `box` [4] of the face on it."""

    page: np.ndarray
    active: np.ndarray
    outline: np.ndarray
    box: np.ndarray


def sheet_of(picture, box, medium, random):
    return (_paper if medium.kind == "print" else _device)(picture, np.asarray(box, np.float64), medium, random)


def _paper(picture, box, medium, random):
    style = random.random()
    width, height = box[2:] - box[:2]
    wanted = width * random.uniform(1.15, 3.2), height * random.uniform(1.15, 3.2)
    content, box = _around(picture, box, wanted, random)
    if style < 0.12:
        page = medium.tone(content)
        return Sheet(page, np.ones(page.shape[:2], np.float32), _cut_out(page.shape, box, random), box)
    if style < 0.45:
        margins = np.zeros(4)
    elif style < 0.8:  # even ones, or whatever the sheet leaves
        margins = np.repeat(random.uniform(0.03, 0.2), 4) if random.random() < 0.5 else random.uniform(0, 0.6, 4)
    else:
        margins = random.uniform(0.05, 1.5, 4)
    margins = (margins * width).astype(int)
    page = np.ones((content.shape[0] + margins[1] + margins[3], content.shape[1] + margins[0] + margins[2], 3), np.float32)
    page[margins[1] : margins[1] + content.shape[0], margins[0] : margins[0] + content.shape[1]] = content
    box = box + margins[[0, 1, 0, 1]]
    if style >= 0.8:  # a card, a document, a page of a magazine
        if random.random() < 0.5:
            free = np.any(page != 1, 2)
            page[~free] = np.clip(random.uniform(0.6, 1, 3) + 0.06 * smooth_noise(page.shape, 4, random)[..., None], 0, 1)[~free]
        _text(page, (0, 0, margins[0], len(page)), width, random)
        _text(page, (margins[0] + content.shape[1], 0, page.shape[1], len(page)), width, random)
        _text(page, (0, margins[1] + content.shape[0], page.shape[1], len(page)), width, random)
    page = medium.tone(page)
    outline = np.ones(page.shape[:2], np.float32)
    if random.random() < 0.15:  # torn or cut by hand
        ys, xs = np.mgrid[0 : len(page), 0 : page.shape[1]].astype(np.float32)
        rough = float(0.03 * width) * (1 + smooth_noise(page.shape, int(random.integers(3, 20)), random))
        edge = np.minimum(np.minimum(xs, page.shape[1] - 1 - xs), np.minimum(ys, len(page) - 1 - ys))
        outline = np.clip(edge - rough + 0.5, 0, 1)
    return Sheet(page, np.ones_like(outline), outline, box)


def _device(picture, box, medium, random):
    kind = random.choice(3, p=[0.5, 0.2, 0.3])
    width = box[2] - box[0]
    if kind == 0:  # a phone, upright or on its side
        wide = width * random.uniform(1.15, 3.0)
        high = wide * random.uniform(1.7, 2.2)
        if random.random() < 0.15:
            wide, high = width * random.uniform(2.6, 5), width * random.uniform(1.4, 2.2)
    elif kind == 1:  # a tablet
        wide = width * random.uniform(1.4, 4)
        high = wide * (random.uniform(1.3, 1.55) if random.random() < 0.6 else random.uniform(0.62, 0.78))
    else:  # a laptop or a monitor
        wide = width * random.uniform(2.2, 6)
        high = wide * random.uniform(0.55, 0.68)
    wide, high = (int(min(value, 1200)) for value in (wide, high))
    content, box = _around(picture, box, (wide, high), random)
    page = np.empty((max(high, content.shape[0]), max(wide, content.shape[1]), 3), np.float32)
    plain = random.random()
    page[:] = random.uniform(0, 0.05) if plain < 0.55 else random.uniform(0.9, 1) if plain < 0.8 else random.uniform(0, 1, 3)
    if kind == 2 and random.random() < 0.5:  # a wallpaper
        page[:] = np.clip(random.uniform(0, 1, 3) + 0.3 * smooth_noise(page.shape, 3, random)[..., None], 0, 1)
    slack = np.array([page.shape[1] - content.shape[1], page.shape[0] - content.shape[0]])
    x, y = (slack * (random.uniform(0, 1, 2) if kind == 2 or random.random() < 0.3 else 0.5)).astype(int)
    page[y : y + content.shape[0], x : x + content.shape[1]] = content
    box = box + [x, y, x, y]
    _controls(page, (x, y, x + content.shape[1], y + content.shape[0]), box, random)
    page = medium.tone(page)
    side, ends = (random.uniform(0.015, 0.1), random.uniform(0.015, 0.3, 2)) if kind < 2 else (random.uniform(0.02, 0.15),) * 2
    ends = np.broadcast_to(ends, 2) * [1, random.uniform(1, 8) if kind == 2 else 1]  # a laptop's keyboard, a monitor's foot
    sides = (np.array([side, ends[0], side, ends[1]]) * width).astype(int) + 1
    if kind < 2 and random.random() < 0.3:
        sides = sides[[1, 0, 3, 2]]
    return _framed(page, box, sides, random.uniform(0, 0.25 if kind < 2 else 0.05) * width, random)


def _framed(page, box, sides, radius, random):
    grey = random.uniform(0.01, 0.14) if random.random() < 0.75 else random.uniform(0.3, 0.95)
    colour = np.clip(grey + random.normal(0, 0.015, 3), 0, 1).astype(np.float32)
    height, width = page.shape[0] + sides[1] + sides[3], page.shape[1] + sides[0] + sides[2]
    whole = np.empty((height, width, 3), np.float32)
    whole[:] = colour * (1 + 0.15 * smooth_noise(whole.shape, 2, random))[..., None]
    inner = np.s_[sides[1] : sides[1] + page.shape[0], sides[0] : sides[0] + page.shape[1]]
    whole[inner] = page
    active = np.zeros((height, width), np.float32)
    active[inner] = 1
    return Sheet(whole, active, _rounded(height, width, radius), box + sides[[0, 1, 0, 1]])


def _rounded(height, width, radius):
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    dx = np.maximum(np.abs(xs - float(width - 1) / 2) - float(width / 2 - radius), 0)
    dy = np.maximum(np.abs(ys - float(height - 1) / 2) - float(height / 2 - radius), 0)
    return np.clip(float(radius) - np.hypot(dx, dy) + 0.5, 0, 1) if radius >= 1 else np.ones((height, width), np.float32)


def _around(picture, box, wanted, random):
    """(at most `wanted` (width, height) of the picture with the whole box in it, the box there)"""
    limits = picture.shape[1], picture.shape[0]
    starts, ends = [], []
    for axis in range(2):
        length = max(wanted[axis], (box[axis + 2] - box[axis]) * 1.1)
        least, most = box[axis + 2] + 0.03 * length - length, box[axis] - 0.03 * length
        start = least + (most - least) * random.beta(2, 2)
        starts.append(int(max(0, start)))
        ends.append(int(min(limits[axis], start + length)))
    content = picture[starts[1] : ends[1], starts[0] : ends[0]]
    return content, box - [starts[0], starts[1], starts[0], starts[1]]


def _cut_out(shape, box, random):
    """A head and shoulders cut out of the paper, roughly; or an oval of the face, a mask."""
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    cx, cy = (float(v) for v in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
    a, b = float(box[2] - box[0]) * random.uniform(0.55, 0.8), float(box[3] - box[1]) * random.uniform(0.55, 0.75)
    angle = np.arctan2(ys - cy, xs - cx)
    wobble = 1 + 0.04 * np.sin(3 * angle + random.uniform(0, 6)) + 0.03 * np.sin(7 * angle + random.uniform(0, 6))
    outside = (np.hypot((xs - cx) / a, (ys - cy) / b) - wobble) * min(a, b)
    if random.random() < 0.6:
        outside = np.minimum(outside, np.maximum(np.abs(xs - cx) - a * random.uniform(1.2, 1.9), float(box[3]) - ys))
    return np.clip(0.5 - outside, 0, 1).astype(np.float32)


def _text(page, region, width, random):
    """Lines as of print in the region (left, top, right, bottom)."""
    left, top, right, bottom = (int(v) for v in region)
    size = max(2, int(width * random.uniform(0.03, 0.12)))
    ink = random.uniform(0, 0.5, 3).astype(np.float32)
    y = top + size
    while y + size < bottom and right - left > 4 * size:
        x = left + size
        while x < right - size and random.random() < 0.9:
            word = int(size * random.uniform(1, 5))
            if random.random() < 0.8:
                patch = page[y : y + size, x : min(x + word, right - size)]
                patch[:, ::2] = patch[:, ::2] * 0.4 + ink * 0.6
                patch[size // 3 : size // 3 + 1] = ink
            x += word + size // 2
        y += int(size * random.uniform(1.4, 2.2))


def _controls(page, content, box, random):
    """Bars, icons, captions, a play button: what a viewer shows beside a picture."""
    height, width = page.shape[:2]
    size = max(2, int((box[2] - box[0]) * random.uniform(0.04, 0.12)))
    colour = np.float32(1.0) if page[0, 0].mean() < 0.5 else np.float32(0.1)
    left, top, right, bottom = content
    bars = [(0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom)]
    for x0, y0, x1, y1 in bars:
        if x1 - x0 < 3 * size or y1 - y0 < 2 * size or random.random() < 0.3:
            continue
        if random.random() < 0.25:
            _text(page, (x0, y0, x1, y1), box[2] - box[0], random)
        for _ in range(random.integers(1, 7)):
            x, y = int(random.uniform(x0 + size, x1 - size)), int(random.uniform(y0 + size, y1 - size))
            w = size if random.random() < 0.7 else int(size * random.uniform(2, 8))
            page[y - size // 2 : y + size // 2, x : min(x1, x + w)] = colour if random.random() < 0.7 else random.uniform(0, 1, 3)
    if random.random() < 0.06:
        cx, cy, r = width // 2, (top + bottom) // 2, size * random.uniform(1, 3)
        shape = np.array([[cx - r * 0.5, cy - r * 0.8], [cx - r * 0.5, cy + r * 0.8], [cx + r * 0.9, cy]]).astype(np.int32)
        layer = page.copy()
        if random.random() < 0.6:
            cv2.circle(layer, (cx, cy), int(r * 1.6), (0.1, 0.1, 0.1), -1, cv2.LINE_AA)
        cv2.fillConvexPoly(layer, shape, (1.0, 1.0, 1.0), cv2.LINE_AA)
        alpha = np.float32(random.uniform(0.5, 1))
        page[:] = page * (1 - alpha) + layer * alpha
    if random.random() < 0.1:  # seen through a smudge
        page[:] = blurred(page, random.uniform(0.3, 1.5))
