"""Where the networks look: the tight box of a face and the windows around it, as crates/vision/src/liveness/window.rs has them.

Pictures are uint8 arrays [height, width, 3], RGB. Boxes are (left, top, right, bottom) in pixels, 0 being the left edge.
"""

import cv2
import numpy as np

# Shifts of left, top, right and bottom in sides of the mesh's box: a tight detector's box, forehead to chin.
MESH_TO_BOX = (0.008, -0.145, -0.015, 0.017)


def tight_box(landmarks):
    """Landmarks [468, 2] -> box [4]."""
    left, top = landmarks.min(0)
    right, bottom = landmarks.max(0)
    size = np.array([right - left, bottom - top] * 2)
    return np.array([left, top, right, bottom]) + np.array(MESH_TO_BOX) * size


def window(box, scale, width, height):
    """(left, top, right, bottom, scale): whole pixels, all four inclusive, and the scale that the picture allowed.

    A window of `scale` boxes about the box's middle, moved to lie within the picture, smaller where it cannot.
    """
    x2, y2 = min(box[2], width), min(box[3], height)
    x, y = max(box[0], 0.0), max(box[1], 0.0)
    box_width, box_height = float(int(max(x2 - x, 2.0))), float(int(max(y2 - y, 2.0)))
    x, y = float(int(x)), float(int(y))
    scale = min(scale, (height - 1) / box_height, (width - 1) / box_width)
    left, right = _along(x, box_width, scale, width)
    top, bottom = _along(y, box_height, scale, height)
    return left, top, right, bottom, scale


def chip(picture, box, scale, side):
    """The window, averaged by area (bilinear where it grows) to [side, side, 3], and the scale that the picture allowed."""
    height, width = picture.shape[:2]
    left, top, right, bottom, reached = window(box, scale, width, height)
    return resize(picture[top : bottom + 1, left : right + 1], side, side), reached


def resize(picture, width, height):
    """Like convert/imaging.py's `resize`, within a grey level of it and faster: an axis that shrinks is averaged by area first."""
    low, narrow = min(height, picture.shape[0]), min(width, picture.shape[1])
    if (low, narrow) != picture.shape[:2]:
        picture = cv2.resize(picture, (narrow, low), interpolation=cv2.INTER_AREA)
    if (low, narrow) != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture


def _along(start, size, scale, limit):
    centre, half = start + size / 2, size * scale / 2
    low, high = centre - half, centre + half
    if low < 0:
        low, high = 0.0, high - low
    if high > limit - 1:
        low, high = low - (high - limit + 1), limit - 1.0
    last = max(limit - 1, 0)
    return int(np.clip(int(low), 0, last)), int(np.clip(int(high), 0, last))
