"""Cut the subjects of the simulation out of the pictures: a face with what surrounds it, or a thing; subjects.csv.

Faces are at most SUBJECT_FACE pixels high, so that later steps are fast; with up to REACH boxes of surroundings, as far as the
picture goes. Things (pictures without a face) get a box of their own: half of the samples' texture has nothing to do with faces.
"""

import csv
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np

import faces
import windows

SUBJECT_FACE = 140
REACH = 3.4
QUALITY = 80
# Lower faces hold too little detail to be photographed once more.
LEAST_FACE = 64
# Grey pictures are no selfies.
LEAST_CHROMA = 3.0
# More equal neighbours than this are a drawing's; a portrait may have a plain background.
MOST_SAME_FACE, MOST_SAME_THING = 0.75, 0.4
FIELDS = ["file", "source", "role", "label", "kind", "left", "top", "right", "bottom"]


def cut(folder, rows, workers):
    """rows: those that faces.find returns. Writes and returns the rows of subjects.csv, of sources that may be trained on."""
    table = folder / "subjects.csv"
    if not table.exists():
        (folder / "subjects").mkdir(exist_ok=True)
        by_file = {}
        for row in rows:
            if row["role"] == "train":
                by_file.setdefault(row["file"], []).append(row)
        jobs = [(folder, number, group) for number, group in enumerate(by_file.values())]
        with ProcessPoolExecutor(workers) as pool:
            found = [subject for subjects in pool.map(_cut, jobs, chunksize=16) for subject in subjects]
        with open(table, "w", newline="") as opened:
            writer = csv.DictWriter(opened, FIELDS)
            writer.writeheader()
            writer.writerows(found)
    with open(table, newline="") as opened:
        return list(csv.DictReader(opened))


def read(folder, row):
    """(picture float32 RGB 0..1, box [4])"""
    picture = cv2.imread(str(folder / row["file"]))[:, :, ::-1].astype(np.float32) / 255
    return picture, np.array([float(row[name]) for name in ("left", "top", "right", "bottom")])


def _cut(job):
    folder, number, rows = job
    cv2.setNumThreads(1)
    first = rows[0]
    if float(first["chroma"]) < LEAST_CHROMA:
        return []
    picture = faces.load(folder / first["file"])
    if picture is None or _sameness(picture) > (MOST_SAME_FACE if first["left"] else MOST_SAME_THING) or _is_framed(picture):
        return []
    found = []
    for face, row in enumerate(rows):
        if row["left"]:
            box, kind = np.array([float(row[name]) for name in ("left", "top", "right", "bottom")]), "face"
            if box[3] - box[1] < LEAST_FACE or _outside(box, picture):
                continue
        else:
            box, kind = _thing(picture), "thing"
        file = f"subjects/{number:05}-{face}.webp"
        crop, box = _crop(picture, box)
        cv2.imwrite(str(folder / file), crop[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        sides = dict(zip(("left", "top", "right", "bottom"), (f"{value:.2f}" for value in box)))
        found.append({"file": file, "source": row["source"], "role": row["role"], "label": row["label"], "kind": kind, **sides})
    return found


def _crop(picture, box):
    height, width = picture.shape[:2]
    left, top, right, bottom, _ = windows.window(box, REACH, width, height)
    # as far as the picture goes on each side, not only as far as the nearest edge
    half = (box[2:] - box[:2]) * REACH / 2
    centre = (box[:2] + box[2:]) / 2
    left, top = (int(v) for v in np.maximum(np.minimum([left, top], centre - half), 0))
    right, bottom = (int(v) for v in np.minimum(np.maximum([right, bottom], centre + half), [width - 1, height - 1]))
    crop = picture[top : bottom + 1, left : right + 1]
    factor = min(1.0, SUBJECT_FACE / (box[3] - box[1]))
    size = [max(1, round(n * factor)) for n in crop.shape[:2]]
    return windows.resize(crop, size[1], size[0]), (box - [left, top, left, top]) * factor


def _thing(picture):
    """A box in the middle, of a face's proportions, that leaves 2.7 boxes of room."""
    height, width = picture.shape[:2]
    side = min(height, width / 0.8) / 2.8
    return np.array([width / 2 - 0.4 * side, height / 2 - side / 2, width / 2 + 0.4 * side, height / 2 + side / 2])


def _outside(box, picture):
    height, width = picture.shape[:2]
    size = (box[2:] - box[:2]) * 0.12
    return bool((box[:2] < -size).any() or (box[2:] > np.array([width, height]) + size).any())


def _sameness(picture):
    """The share of equal neighbouring pixels: high in drawings, screenshots, and before a burnt-out wall."""
    return float((picture[:, 1:] == picture[:, :-1]).all(2).mean())


def _is_framed(picture):
    """Round portraits and the like: all four corners plain and alike."""
    side = max(4, min(picture.shape[:2]) // 14)
    corners = np.stack([picture[:side, :side], picture[:side, -side:], picture[-side:, :side], picture[-side:, -side:]])
    corners = corners.astype(np.float32)
    plain = corners.std((1, 2)).max() < 2.5
    return bool(plain and np.ptp(corners.mean((1, 2)), axis=0).max() < 6)
