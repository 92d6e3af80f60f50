"""Embed a labelled folder and measure it. Run: python measure.py EVAL_FOLDER [--face prominent|central] [--cache FILE]

EVAL_FOLDER holds identities.csv (image,identity) and the images that it names. Prints, for the FAST and the ACCURATE score
over all pairs of two different images, the share of genuine pairs accepted at given false match rates.

The product takes the most prominent face of a photo: large and in full view. LFW's label belongs to the face in the middle,
which in a few photos is another one: "prominent" measures the product, label noise included, "central" the models.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import imaging
from reference import Pipeline, fused

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--face", choices=SELECTIONS, default="prominent")
    arguments.add_argument("--cache", type=Path, help="an .npz file that keeps the embeddings between runs")
    options = arguments.parse_args()
    evaluation = embed_folder(options.folder, options.face, options.cache)
    ranges, counts = np.unique(evaluation["range"], return_counts=True)
    print("images", len(evaluation["identity"]), dict(zip(ranges.tolist(), counts.tolist())))
    for mode, (genuine, impostor) in cross_scores(evaluation).items():
        print(f"{mode}: {len(genuine)} genuine, {len(impostor)} impostor pairs")
        print(f"  impostor mean {impostor.mean():.4f} sd {impostor.std():.4f}; genuine mean {genuine.mean():.4f}")
        for rate in FALSE_MATCH_RATES:
            threshold = threshold_at(impostor, rate)
            print(f"  FMR {rate:.0e}: threshold {threshold:.4f}, TAR {100 * (genuine >= threshold).mean():.2f} %")


def embed_folder(folder, face, cache=None):
    """{"image", "identity", "range", "dlib" [n,128], "dlib_mirrored" [n,128], "faceres" [n,1024]} of the images in which a face was found.

    An image without a face has the range "none" and embeddings of zeros; cross_scores leaves it out.
    """
    if cache and cache.exists():
        return dict(np.load(cache))
    pipeline = Pipeline()
    with open(folder / "identities.csv", newline="") as opened:
        rows = list(csv.DictReader(opened))
    columns = {"image": [], "identity": [], "range": [], "dlib": [], "dlib_mirrored": [], "faceres": []}
    for row in rows:
        image = imaging.load(folder / row["image"])
        found = pipeline.detect(image)
        lengths = {"dlib": 128, "dlib_mirrored": 128, "faceres": 1024}
        embeddings = {name: np.zeros(length, np.float32) for name, length in lengths.items()}
        if found.faces:
            chosen = SELECTIONS[face](found.faces, image)
            embeddings = pipeline.embed(pipeline.chips(image, chosen))
        record = {**row, "range": found.range or "none", **embeddings}
        for name, values in columns.items():
            values.append(record[name])
    evaluation = {name: np.array(values) for name, values in columns.items()}
    if cache:
        np.savez(cache, **evaluation)
    return evaluation


def cross_scores(evaluation):
    """{"fast": (genuine, impostor), "accurate": ...}: raw scores of all unordered pairs of different images with a face."""
    found = evaluation["range"] != "none"
    identity = evaluation["identity"][found]
    first, second = np.triu_indices(len(identity), 1)
    same = identity[first] == identity[second]
    dlib, mirrored, faceres = (
        _cosines(evaluation[name][found])[first, second] for name in ("dlib", "dlib_mirrored", "faceres")
    )
    return {mode: (s[same], s[~same]) for mode, s in (("fast", dlib), ("accurate", fused(mirrored, faceres)))}


def threshold_at(impostor, rate):
    """The lowest score that at most this share of impostor pairs reaches (a score equal to the threshold is a match)."""
    allowed = int(np.floor(rate * len(impostor)))
    highest_refused = np.sort(impostor)[::-1][allowed]
    return float(np.nextafter(highest_refused, np.inf))


def _prominent(faces, _image):
    return faces[0]


def _central(faces, image):
    """Large and near the middle: area less twice the squared distance from the image's centre."""
    middle = np.array([image.shape[1], image.shape[0]]) / 2
    return max(faces, key=lambda f: f.area - 2 * (((f.box[:2] + f.box[2:]) / 2 - middle) ** 2).sum())


SELECTIONS = {"prominent": _prominent, "central": _central}


def _cosines(embeddings):
    unit = embeddings.astype(np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


if __name__ == "__main__":
    main()
