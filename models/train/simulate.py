"""Photograph the subjects, alive and recaptured, and cut the networks' chips: chips/ROLE-*.npy and samples.csv.

Sample number n is drawn from a generator seeded with (SEED, n): the same set comes out in any order, with any number of workers.
"""

import csv
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np

import staging
import subjects
import windows

SEED = 21
SIDE = 128
# Sides of the windows in sides of the face, by the network's name.
SCALES = {"wide": 2.7, "tight": 1.2}
# print, live, screen: as the classes of the networks.
CLASSES = ("print", "live", "screen")
SHARES = (0.33, 0.40, 0.27)
# Sources that every HELD_EVERY-th sample shows, and no other: never trained on.
HELD_OUT = ("csvconf/csvconf.com", "rladies/rladies.github.io", "Openscapes/website")
HELD_EVERY = 25
# Of ten subjects this many are things instead of faces.
THINGS = 1
# The share of screens that are real recaptures, where a source allows it; and of pictures shown larger than they are.
REAL, ENLARGED = 0.04, 0.25
FIELDS = ["number", "class", "source", "subject", "kind", "context"]


def simulate(folder, rows, count, workers):
    """rows: those of subjects.csv. Writes chips/{wide,tight}.npy uint8 [count, SIDE, SIDE, 3] and samples.csv, returns its rows."""
    table = folder / "samples.csv"
    if not table.exists():
        (folder / "chips").mkdir(exist_ok=True)
        stores = {name: _store(folder, name, count) for name in SCALES}
        samples = []
        with ProcessPoolExecutor(workers, initializer=_start, initargs=(folder, rows)) as pool:
            for sample, chips in pool.map(_sample, range(count), chunksize=32):
                samples.append(sample)
                for name, chip in chips.items():
                    stores[name][sample["number"]] = chip
        with open(table, "w", newline="") as opened:
            writer = csv.DictWriter(opened, FIELDS)
            writer.writeheader()
            writer.writerows(samples)
    with open(table, newline="") as opened:
        return list(csv.DictReader(opened))


def chips_of(photograph, box):
    """({network's name: chip}, how many boxes of context the widest window had)"""
    cut = {name: windows.chip(photograph, box, scale, SIDE) for name, scale in SCALES.items()}
    return {name: chip for name, (chip, _) in cut.items()}, max(reached for _, reached in cut.values())


def _store(folder, name, count):
    return np.lib.format.open_memmap(folder / "chips" / f"{name}.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))


def _start(folder, rows):
    global FOLDER, STOCKS
    cv2.setNumThreads(1)
    FOLDER = folder
    held = [row for row in rows if row["source"] in HELD_OUT]
    STOCKS = {False: _stock([row for row in rows if row["source"] not in HELD_OUT]), True: _stock(held)}


def _stock(rows):
    """(faces, things, real recaptures) to be drawn from."""
    alive = [row for row in rows if row["label"] == "live"]
    faces, things = (_by_source(row for row in alive if row["kind"] == kind) for kind in ("face", "thing"))
    return faces, things, [row for row in rows if row["label"] != "live"]


def _sample(number):
    random = np.random.default_rng((SEED, number))
    faces, things, recaptures = STOCKS[number % HELD_EVERY == 0]
    kind = CLASSES[random.choice(3, p=SHARES)]
    like = things if random.random() < THINGS / 10 else faces
    recapture = kind == "screen" and recaptures and random.random() < REAL
    row = recaptures[random.integers(len(recaptures))] if recapture else _one(like, random)
    subject = subjects.read(FOLDER, row)
    height = staging.height_of(subject, random)
    if kind == "live" or recapture:
        subject = staging.scaled(subject, height)
        scene, box = staging.living(subject, staging.frame_of(subject, random), random)
    else:
        if random.random() < ENLARGED:
            height *= random.uniform(1, 1.8)
        # framed as another person's photograph is
        frame = staging.frame_of(subjects.read(FOLDER, _one(like, random)), random)
        backdrop = _one(faces if random.random() < 0.5 else things, random)
        picture, around = subjects.read(FOLDER, backdrop)
        behind = picture, around if backdrop["kind"] == "face" else None
        scene, box = staging.recaptured(staging.scaled(subject, height), frame, behind, random, kind)
    photograph, box = staging.photographed(scene, box, random)
    chips, context = chips_of(photograph, _jittered(box, random))
    sample = {"number": number, "class": kind, "source": row["source"], "subject": row["file"], "kind": row["kind"]}
    return {**sample, "context": f"{context:.3f}"}, chips


def _jittered(box, random):
    """Detectors differ by a few percent from one moment to the next."""
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    return box + random.normal(0, 0.03, 4) * size


def _by_source(rows):
    """([rows of one source], [how likely the source is]): by the root of its size, so that no source drowns the others."""
    groups = {}
    for row in rows:
        groups.setdefault(row["source"], []).append(row)
    weights = np.array([len(group) for group in groups.values()]) ** 0.5
    return list(groups.values()), weights / weights.sum()


def _one(groups, random):
    own = groups[0][random.choice(len(groups[0]), p=groups[1])]
    return own[random.integers(len(own))]
