"""Make the default pack's ONNX files from their pinned packages. Run: python convert.py [--cache DIR] [--out DIR]

Deterministic: the same packages and requirements.txt give the same bytes. Prints the sha256 of each file.
"""

import argparse
import hashlib
from pathlib import Path

import from_dlib
import from_tfjs
import from_tflite
from packages import FACE_RECOGNITION_MODELS, HUMAN, MEDIAPIPE, Source, extract

MODELS = Path(__file__).resolve().parent.parent

BLAZEFACE_SHORT = Source(
    MEDIAPIPE,
    "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
BLAZEFACE_FULL_SPARSE = Source(
    MEDIAPIPE,
    "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
)
FACE_LANDMARK = Source(
    MEDIAPIPE,
    "mediapipe/modules/face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
DLIB_RESNET = Source(
    FACE_RECOGNITION_MODELS,
    "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
FACERES_TOPOLOGY = Source(
    HUMAN,
    "package/models/faceres.json",
    "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
)
FACERES_WEIGHTS = Source(
    HUMAN,
    "package/models/faceres.bin",
    "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cache", type=Path, default=MODELS.parent / ".local" / "convert", help="downloads")
    arguments.add_argument("--out", type=Path, default=MODELS, help="where the .onnx files go")
    options = arguments.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    convert_all(options.cache, options.out)
    for path in sorted(options.out.glob("*.onnx")):
        data = path.read_bytes()
        print(f"{hashlib.sha256(data).hexdigest()}  {path.name}  {len(data)} bytes")


def convert_all(cache, out):
    from_tflite.convert(
        extract(BLAZEFACE_SHORT, cache),
        out / "blazeface_short.onnx",
        {"regressors": ("boxes", [896, 16]), "classificators": ("scores", [896, 1])},
        "MediaPipe 0.10.14 face_detection_short_range (Apache-2.0). RGB, (x - 127.5) / 127.5.",
    )
    from_tflite.convert(
        extract(BLAZEFACE_FULL_SPARSE, cache),
        out / "blazeface_full_sparse.onnx",
        {"Identity": ("boxes", [2304, 16]), "Identity_1": ("scores", [2304, 1])},
        "MediaPipe 0.10.14 face_detection_full_range_sparse (Apache-2.0). RGB, (x - 127.5) / 127.5.",
    )
    from_tflite.convert(
        extract(FACE_LANDMARK, cache),
        out / "face_landmark.onnx",
        {"conv2d_21": ("landmarks", [468, 3]), "conv2d_31": ("presence", [1])},
        "MediaPipe 0.10.14 face_landmark (Apache-2.0). RGB / 255; landmarks in input pixels; presence is a logit.",
    )
    from_dlib.convert(extract(DLIB_RESNET, cache), out / "dlib_resnet.onnx")
    from_tfjs.convert(extract(FACERES_TOPOLOGY, cache), extract(FACERES_WEIGHTS, cache), out / "faceres.onnx")


if __name__ == "__main__":
    main()
