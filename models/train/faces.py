"""Find the faces in the fetched pictures, with the product's own cascade (convert/reference.py).

One row a face, or one row without a box for a picture that has none. Boxes are tight boxes in pixels of the upright picture.
"""

import csv
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

import windows

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "convert"))
import imaging  # noqa: E402
import reference  # noqa: E402

FIELDS = ["file", "source", "label", "role", "width", "height", "left", "top", "right", "bottom", "presence", "chroma"]
# The longest side that detection sees: its networks look at 128 to 192 pixels anyway.
DETECTION_SIDE = 960
# Largest picture worth reading, in pixels.
LARGEST = 60_000_000


def find(folder, rows, workers):
    """rows: those of pictures.csv. Returns the faces' rows, kept in faces/OWNER+NAME.csv, a file for each source."""
    (folder / "faces").mkdir(exist_ok=True)
    found = []
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(folder,)) as pool:
        for source in dict.fromkeys(row["source"] for row in rows):
            table = folder / "faces" / f"{source.replace('/', '+')}.csv"
            if not table.exists():
                own = [row for row in rows if row["source"] == source]
                faces = [face for faces in pool.map(_faces, own, chunksize=8) for face in faces]
                with open(table, "w", newline="") as opened:
                    writer = csv.DictWriter(opened, FIELDS)
                    writer.writeheader()
                    writer.writerows(faces)
            with open(table, newline="") as opened:
                found += list(csv.DictReader(opened))
    return found


def load(path):
    """RGB, upright; None for what is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = imaging.load(path)
    except Exception:  # whatever a stranger's file holds
        return None
    return picture if min(picture.shape[:2]) >= 64 and picture.shape[0] * picture.shape[1] <= LARGEST else None


def _start(folder):
    global FOLDER, SHORT, FULL, LANDMARKER
    cv2.setNumThreads(1)
    imaging.resize = windows.resize  # the same to a grey level, and much faster
    FOLDER = folder
    SHORT = reference.Detector("blazeface_short", 128, ((16, 2), (8, 6)))
    FULL = reference.Detector("blazeface_full_sparse", 192, ((48, 1),))
    LANDMARKER = reference.Landmarker()


def _faces(row):
    picture = load(FOLDER / row["file"])
    if picture is None:
        return []
    height, width = picture.shape[:2]
    base = {name: row[name] for name in ("file", "source", "label", "role")}
    base |= {"width": width, "height": height, "chroma": f"{_chroma(picture):.2f}"}
    factor = min(1.0, DETECTION_SIDE / max(width, height))
    small = windows.resize(picture, max(1, round(width * factor)), max(1, round(height * factor)))
    faces = []
    for detector in (SHORT, FULL):
        for face in detector(small):
            presence, landmarks = LANDMARKER(small, face)
            if presence >= reference.PRESENCE_THRESHOLD:
                left, top, right, bottom = (f"{value:.1f}" for value in windows.tight_box(landmarks) / factor)
                box = {"left": left, "top": top, "right": right, "bottom": bottom, "presence": f"{presence:.3f}"}
                faces.append((face.prominence(small.shape[1], small.shape[0]), box))
        if faces:
            break
    faces.sort(key=lambda it: -it[0])
    return [base | box for _, box in faces] or [base]


def _chroma(picture):
    """How colourful it is: the mean distance of a channel from grey. Below about 2 it is a grey picture."""
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(np.abs(small - small.mean(2, keepdims=True)).mean())
