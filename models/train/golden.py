"""What the networks say of the test photos: ../golden/liveness.json and the chips they were fed, for the test of the Rust implementation.

Chips come from convert/imaging.py, whose resizing the product reproduces to the grey level, not from the faster one of windows.py.
"""

import json
import sys
from pathlib import Path

import numpy as np

import evaluate
import simulate
import windows

MODELS = Path(__file__).resolve().parent.parent
PHOTOS = MODELS.parent / "tests" / "photos"
sys.path.insert(0, str(MODELS / "convert"))
import imaging  # noqa: E402
from reference import Pipeline  # noqa: E402

NAMES = ("astronaut.png", "obama.jpg", "tilted.png", "two-faces.png")
# Of this one the chips are stored too: a PNG, so that no JPEG decoder comes between.
CHIPS = "astronaut.png"


def main():
    pipeline = Pipeline()
    weights = {it["model"]: it["weight"] for it in evaluate.manifest("manifest.toml")["models"]}
    networks = {name: evaluate.session(MODELS / f"{name}.onnx") for name in weights}
    golden = {}
    for photo in NAMES:
        picture = imaging.load(PHOTOS / photo)
        box = windows.tight_box(pipeline.detect(picture).faces[0].landmarks)
        golden[photo] = {"tight_box": [round(float(v), 3) for v in box], "networks": {}}
        for name, session in networks.items():
            golden[photo]["networks"][name] = _network(picture, box, photo, name, session)
        raw = sum(weights[name] * it["live"] for name, it in golden[photo]["networks"].items())
        golden[photo]["live"] = round(float(raw), 6)
    (MODELS / "golden" / "liveness.json").write_text(json.dumps(golden, indent=1) + "\n")


def _network(picture, box, photo, name, session):
    height, width = picture.shape[:2]
    sees = evaluate.window_of(name)
    left, top, right, bottom, scale = windows.window(box, simulate.SCALES[sees], width, height)
    crop = picture[top : bottom + 1, left : right + 1]
    # rounded in between where one axis shrinks and the other grows, as in training and in the product
    small = imaging.resize(crop, min(simulate.SIDE, crop.shape[1]), min(simulate.SIDE, crop.shape[0]))
    chip = imaging.resize(small, simulate.SIDE, simulate.SIDE)
    if photo == CHIPS:
        imaging.save(chip, MODELS / "golden" / f"{Path(photo).stem}_liveness_{sees}{simulate.SIDE}.png")
    planes = np.ascontiguousarray(chip[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
    logits = session.run(None, {"input": planes})[0]
    return {
        "window": [left, top, right, bottom],
        "scale": round(float(scale), 6),
        "logits": [round(float(v), 5) for v in logits[0]],
        "live": round(float(evaluate.live(logits)[0]), 6),
    }


if __name__ == "__main__":
    main()
