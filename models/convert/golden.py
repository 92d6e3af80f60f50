"""Write golden/<photo>.json, the chips and pairs.json: what the reference pipeline says of the test photos. Run: python golden.py"""

import itertools
import json
import tomllib

import numpy as np

import imaging
import reference

PHOTOS = reference.MODELS.parent / "tests" / "photos"
GOLDEN = reference.MODELS / "golden"
NAMES = (
    "astronaut.png",
    "biden.jpg",
    "exif-rotated.jpg",
    "no-face.png",
    "obama.jpg",
    "obama2.jpg",
    "small-face.png",
    "tilted.png",
    "two-faces.png",
)
# chips of these lie beside the JSON as PNG: the four people's photos and the tilted one
WITH_CHIPS = ("astronaut.png", "biden.jpg", "obama.jpg", "obama2.jpg", "tilted.png")
# the networks' inputs for this one are stored too (a lossless photo, so free of JPEG decoders' differences)
WITH_INPUTS = "astronaut.png"


def main():
    GOLDEN.mkdir(exist_ok=True)
    pipeline = reference.Pipeline()
    embeddings = {}
    for name in NAMES:
        record, chips, embedding = describe(pipeline, imaging.load(PHOTOS / name))
        stem = name.split(".")[0]
        write(GOLDEN / f"{stem}.json", {"photo": name, **record})
        if embedding:
            embeddings[name] = embedding
        if name in WITH_CHIPS:
            imaging.save(chips["dlib"][1], GOLDEN / f"{stem}_dlib150.png")
            imaging.save(chips["faceres"][1], GOLDEN / f"{stem}_faceres224.png")
    write_inputs(pipeline)
    write(GOLDEN / "pairs.json", [pair(embeddings, a, b) for a, b in itertools.combinations(embeddings, 2)])


def describe(pipeline, image):
    """(record for JSON, chips, embeddings) of the primary face; chips and embeddings are None without one."""
    found = pipeline.detect(image)
    record = {
        "width": image.shape[1],
        "height": image.shape[0],
        "range": found.range,
        "faces": [detection(face) for face in found.faces],
        "rejected": [detection(face) for face in found.rejected],
    }
    if not found.faces:
        return record, None, None
    chips = pipeline.chips(image, found.faces[0])
    embedding = pipeline.embed(chips)
    record["primary"] = {
        "landmarks": rounded(found.faces[0].landmarks, 3),
        "five_points": rounded(found.faces[0].five_points, 4),
        "roi_matrix": rounded(reference.roi_matrix(found.faces[0]), 8),
        "dlib_matrix": rounded(chips["dlib"][0], 8),
        "faceres_matrix": rounded(chips["faceres"][0], 8),
        "dlib_embedding": rounded(embedding["dlib"], 6),
        "faceres_embedding": rounded(embedding["faceres"], 6),
    }
    return record, chips, embedding


def detection(face):
    return {
        "box": rounded(face.box, 3),
        "score": round(face.score, 6),
        "presence": round(face.presence, 6),
        "points": rounded(face.points, 3),
    }


def pair(embeddings, a, b):
    """Raw and calibrated scores of two photos, from the embeddings as computed."""
    dlib, mirrored, faceres = (
        reference.cosine(embeddings[a][name], embeddings[b][name]) for name in ("dlib", "dlib_mirrored", "faceres")
    )
    raw = {"fast": dlib, "accurate": reference.fused(mirrored, faceres)}
    calibrated = {mode: calibrated_score(mode, score) for mode, score in raw.items()}
    return {
        "a": a,
        "b": b,
        "dlib_cosine": round(dlib, 6),
        "dlib_mirrored_cosine": round(mirrored, 6),
        "faceres_cosine": round(faceres, 6),
        "raw": {mode: round(score, 6) for mode, score in raw.items()},
        "calibrated": {mode: round(score, 6) for mode, score in calibrated.items()},
    }


def calibrated_score(mode, raw):
    with open(reference.MODELS / "calibration" / f"{mode}.toml", "rb") as opened:
        knots = np.array(tomllib.load(opened)["knots"])
    return float(np.interp(raw, knots[:, 0], knots[:, 1]))


def write_inputs(pipeline):
    """What the detectors and the landmark model are fed for one photo, before normalisation; the chips lie there already."""
    image = imaging.load(PHOTOS / WITH_INPUTS)
    face = pipeline.detect(image).faces[0]
    pictures = {
        "letterbox128": imaging.letterbox(image, 128)[0],
        "letterbox192": imaging.letterbox(image, 192)[0],
        "landmark192": imaging.warp(image, reference.roi_matrix(face), reference.LANDMARK_SIDE),
    }
    for name, picture in pictures.items():
        imaging.save(picture, GOLDEN / f"{WITH_INPUTS.split('.')[0]}_{name}.png")


def rounded(array, digits):
    """Nested lists of plain floats, -0.0 written as 0.0."""
    return (np.round(np.asarray(array, np.float64), digits) + 0.0).tolist()


def write(path, value):
    """JSON with one field of an object, or one element of a list, a line: a changed number shows as a changed line."""
    path.write_text(pretty(value) + "\n")


def pretty(value, indent=1):
    """Objects, and lists of objects, spread over lines; lists of numbers kept on one."""
    space = "\n" + " " * indent
    if isinstance(value, dict):
        inner = ("," + space).join(f"{json.dumps(k)}: {pretty(v, indent + 1)}" for k, v in value.items())
        return "{" + space + inner + space[:-1] + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[" + space + ("," + space).join(json.dumps(v) for v in value) + space[:-1] + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
