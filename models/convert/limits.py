"""Where detection ends: small faces and tilted heads. Run: python limits.py EVAL_FOLDER [--images 100]

Takes evenly spaced images, shrinks each into a grey 640 x 640 frame or turns it about its centre, and counts how often the
cascade still finds a face where it was.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

import imaging
from reference import Pipeline

FRAME = 640
FRACTIONS = (1 / 5, 1 / 8, 1 / 10, 1 / 12, 1 / 14, 1 / 16, 1 / 20)
ANGLES = (0, 15, 30, 45, 60, 90, 180)
GREY = (128, 128, 128)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--images", type=int, default=100)
    options = arguments.parse_args()
    with open(options.folder / "identities.csv", newline="") as opened:
        names = [row["image"] for row in csv.DictReader(opened)]
    pipeline = Pipeline()
    chosen = names[:: len(names) // options.images][: options.images]
    known = []
    for name in chosen:
        image = imaging.load(options.folder / name)
        faces = pipeline.detect(image).faces
        if faces:
            known.append((Image.fromarray(image), faces[0]))
    print(f"{len(known)} images of {len(chosen)}")
    for fraction in FRACTIONS:
        ranges = [found_at(pipeline, *shrunk(image, face, fraction)) for image, face in known]
        print(f"box 1/{1 / fraction:.0f} of the frame: short {ranges.count('short')}, full {ranges.count('full')}")
    for angle in ANGLES:
        ranges = [found_at(pipeline, *turned(image, face, angle)) for image, face in known]
        print(f"turned by {angle}: short {ranges.count('short')}, full {ranges.count('full')}")


def shrunk(image, face, fraction):
    """(frame, where the face is, box side there)"""
    zoom = FRAME * fraction / (face.box[2] - face.box[0])
    side = round(image.width * zoom)
    left = top = (FRAME - side) // 2
    frame = Image.new("RGB", (FRAME, FRAME), GREY)
    frame.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return np.array(frame), centre(face) * zoom + (left, top), FRAME * fraction


def turned(image, face, angle):
    radians = np.deg2rad(angle)
    middle = np.array([image.width, image.height]) / 2
    # Pillow turns counter-clockwise on the screen, where y points down
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    frame = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=GREY)
    return np.array(frame), turn @ (centre(face) - middle) + middle, face.box[2] - face.box[0]


def found_at(pipeline, frame, where, side):
    """The range that found a face whose centre is within half a box side of the place, or None."""
    found = pipeline.detect(frame)
    near = any(np.abs(centre(face) - where).max() < side / 2 for face in found.faces)
    return found.range if near else None


def centre(face):
    return (face.box[:2] + face.box[2:]) / 2


if __name__ == "__main__":
    main()
