"""Pixels: decoding, area and bilinear resizing, letterboxing, similarity warps. The rules are numbered in README.md.

Images are uint8 arrays [height, width, 3], RGB. Sums are taken in f64 and rounded once, half up, at the end of an operation.
"""

import numpy as np
from PIL import Image, ImageOps


def load(path):
    """Decode a file to RGB, turned upright by its EXIF orientation."""
    with Image.open(path) as opened:
        return np.array(ImageOps.exif_transpose(opened).convert("RGB"))


def save(image, path):
    Image.fromarray(image).save(path, optimize=True)


def round_half_up(value):
    """Nearest integer, ties upwards (for the positive numbers here the same as ties away from zero)."""
    return np.floor(np.asarray(value, np.float64) + 0.5)


def to_bytes(values):
    return np.clip(round_half_up(values), 0, 255).astype(np.uint8)


def resize(image, width, height):
    """Resize to exactly width x height: area averaging along an axis that shrinks, bilinear along one that grows."""
    rows = _axis_weights(image.shape[0], height, image.shape[0] / height)
    columns = _axis_weights(image.shape[1], width, image.shape[1] / width)
    return _separable(image, rows, columns)


def shrink(image, factor):
    """Area average by a uniform factor < 1. Cells are exactly 1 / factor wide; the last of a row may reach past the edge."""
    sizes = [max(1, int(round_half_up(n * factor))) for n in image.shape[:2]]
    rows, columns = (area_weights(n, size, 1 / factor) for n, size in zip(image.shape[:2], sizes))
    return _separable(image, rows, columns)


def letterbox(image, side):
    """Fit the picture into a black square. Returns (square, scale, left, top): square = source * scale + (left, top)."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner_width, inner_height = (max(1, int(round_half_up(n * scale))) for n in (width, height))
    left, top = (side - inner_width) // 2, (side - inner_height) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + inner_height, left : left + inner_width] = resize(image, inner_width, inner_height)
    return square, scale, left, top


def warp(image, matrix, side):
    """Resample through a 2 x 3 similarity (source -> target, pixel centres at integers) onto a square; black outside.

    When it shrinks by more than 2 the picture is first area-averaged to twice the target's scale, against aliasing.
    """
    factor = 2 * np.sqrt(np.linalg.det(matrix[:, :2]))
    if factor < 1:
        image, matrix = shrink(image, factor), after_shrink(matrix, factor)
    return _bilinear(image, invert(matrix), side)


def after_shrink(matrix, factor):
    """The matrix for the shrunk picture, whose pixel u has its centre at (u + 0.5) / factor - 0.5 of the original."""
    # source = u / factor + half, so target = linear @ u + (linear * factor) @ half + translation
    half = np.full(2, 0.5 / factor - 0.5)
    return np.column_stack([matrix[:, :2] / factor, matrix[:, :2] @ half + matrix[:, 2]])


def invert(matrix):
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def area_weights(size, target_size, cell):
    """[target_size, size]: how much of target cell [j * cell, (j + 1) * cell) each source pixel [i, i + 1) covers, sum 1."""
    starts = np.arange(target_size)[:, None] * cell
    pixels = np.arange(size)[None, :]
    covered = np.minimum(starts + cell, pixels + 1) - np.maximum(starts, pixels)
    covered = np.maximum(covered, 0)
    return covered / covered.sum(1, keepdims=True)


def bilinear_weights(size, target_size, cell):
    """[target_size, size]: linear interpolation at (j + 0.5) * cell - 0.5, edges repeated."""
    at = np.clip((np.arange(target_size) + 0.5) * cell - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((target_size, size))
    rows = np.arange(target_size)
    np.add.at(weights, (rows, low), 1 - (at - low))
    np.add.at(weights, (rows, high), at - low)
    return weights


def _axis_weights(size, target_size, cell):
    return area_weights(size, target_size, cell) if target_size <= size else bilinear_weights(size, target_size, cell)


def _separable(image, rows, columns):
    height, width, channels = image.shape
    across = columns @ image.astype(np.float64)  # [height, target width, channels]
    down = rows @ across.reshape(height, -1)
    return to_bytes(down.reshape(rows.shape[0], columns.shape[0], channels))


def _bilinear(image, inverse, side):
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float64)
    at = transform(inverse, np.stack([xs.ravel(), ys.ravel()], 1))
    corner = np.floor(at).astype(np.int64)
    fraction = at - corner
    height, width = image.shape[:2]
    total = np.zeros((side * side, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight_x = fraction[:, 0] if dx else 1 - fraction[:, 0]
            weight_y = fraction[:, 1] if dy else 1 - fraction[:, 1]
            pixels = image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
            total += pixels * (weight_x * weight_y * inside)[:, None]
    return to_bytes(total.reshape(side, side, 3))
