"""Prove that each ONNX file computes what its source computes, and store the proof: golden/conversion.json and .f32.

Run: python conversion.py --dlib-forward BINARY --tfjs FOLDER [--cache DIR]

BINARY is dlib_forward.cpp compiled against dlib 20.0.1, FOLDER has @tensorflow/tfjs 4.22.0 installed. The TFLite files run by
ai-edge-litert. Each model gets two inputs: pseudo-random bytes from one line of arithmetic, and a face (a golden PNG).
conversion.f32 holds what the SOURCE runtime answered, little-endian f32, at the offsets (counted in values) of conversion.json.
"""

import argparse
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

import convert
import golden
import imaging
import reference
from packages import extract

GOLDEN = golden.GOLDEN
LCG = "state = seed; for each byte: state = (1664525 * state + 1013904223) mod 2^32, byte = state >> 24; order row, column, channel"
SEED = 1
FACES = {
    "blazeface_short": "astronaut_letterbox128.png",
    "blazeface_full_sparse": "astronaut_letterbox192.png",
    "face_landmark": "astronaut_landmark192.png",
    "dlib_resnet": "astronaut_dlib150.png",
    "faceres": "astronaut_faceres224.png",
}
# largest difference relative to the largest absolute value of the same output; f32 rounding leaves about 1e-6
TOLERANCE = 1e-5


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--dlib-forward", type=Path, required=True)
    arguments.add_argument("--tfjs", type=Path, required=True)
    arguments.add_argument("--cache", type=Path, default=reference.MODELS.parent / ".local" / "convert", help="downloads")
    options = arguments.parse_args()
    values, entries = [], []
    for model, (side, normalise, run, runtime) in cases(options).items():
        for name, image in inputs(model, side):
            picture = np.ascontiguousarray(normalise(image), np.float32)
            for output, expected, found in compare(model, picture, image, run):
                difference = float(np.abs(expected - found).max())
                relative = difference / float(np.abs(expected).max())
                if relative > TOLERANCE:
                    raise SystemExit(f"{model} {name} {output}: differs by {difference}, {relative} of the largest value")
                offset = sum(v.size for v in values)
                values.append(expected)
                entries.append(
                    {
                        "model": model,
                        "input": name,
                        "source_runtime": runtime,
                        "output": output,
                        "shape": list(expected.shape),
                        "offset": offset,
                        "largest_value": float(f"{np.abs(expected).max():.6g}"),
                        "max_abs_difference": float(f"{difference:.2g}"),
                    }
                )
                print(f"{model:22} {name:28} {output:10} {difference:.2g} of {np.abs(expected).max():.4g}")
    description = {
        "lcg": LCG,
        "seed": SEED,
        "tolerance_relative_to_largest_value": TOLERANCE,
        "onnxruntime": version("onnxruntime"),
        "file": "conversion.f32",
        "entries": entries,
    }
    golden.write(GOLDEN / "conversion.json", description)
    (GOLDEN / "conversion.f32").write_bytes(np.concatenate([v.ravel() for v in values]).astype("<f4").tobytes())


def cases(options):
    """{model: (side, normalisation, source runner (picture, bytes) -> {output: array}, the runtime's name)}"""
    litert = f"ai-edge-litert {version('ai-edge-litert')}"

    def tflite(source, names):
        path = extract(source, options.cache)
        return lambda picture, _: run_tflite(path, picture, names)

    def dlib(_, image):
        return {"embedding": run_piped([options.dlib_forward.resolve(), extract(convert.DLIB_RESNET, options.cache)], image)}

    def tfjs(picture, _):
        files = [extract(s, options.cache) for s in (convert.FACERES_TOPOLOGY, convert.FACERES_WEIGHTS)]
        script = Path(__file__).resolve().parent / "tfjs_forward.mjs"
        return {"embedding": run_piped(["node", script, *files], picture, cwd=options.tfjs)}

    detector = reference.normalise_detector
    short = tflite(convert.BLAZEFACE_SHORT, {"regressors": "boxes", "classificators": "scores"})
    full = tflite(convert.BLAZEFACE_FULL_SPARSE, {"Identity": "boxes", "Identity_1": "scores"})
    landmark = tflite(convert.FACE_LANDMARK, {"conv2d_21": "landmarks", "conv2d_31": "presence"})
    return {
        "blazeface_short": (128, detector, short, litert),
        "blazeface_full_sparse": (192, detector, full, litert),
        "face_landmark": (192, reference.normalise_landmark, landmark, litert),
        "dlib_resnet": (150, reference.normalise_dlib, dlib, "dlib 20.0.1, its own network (dlib_forward.cpp), CPU"),
        "faceres": (224, reference.normalise_faceres, tfjs, "@tensorflow/tfjs 4.22.0, cpu backend, node"),
    }


def inputs(model, side):
    """(name in conversion.json, uint8 RGB image) of the two inputs."""
    yield "lcg", lcg_image(side, SEED)
    yield FACES[model], imaging.load(GOLDEN / FACES[model])


def lcg_image(side, seed):
    state, values = seed, []
    for _ in range(side * side * 3):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 24)
    return np.array(values, np.uint8).reshape(side, side, 3)


def compare(model, picture, image, run):
    """(output name, what the source gave, what the ONNX gave) for each output."""
    session = onnxruntime.InferenceSession(reference.MODELS / f"{model}.onnx", providers=["CPUExecutionProvider"])
    source = run(picture, image)
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
    for output in session.get_outputs():
        (found,) = session.run([output.name], {"input": planes})
        yield output.name, source[output.name].reshape(found.shape[1:]), found[0]


def run_tflite(path, picture, names):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
    interpreter.invoke()
    return {names[d["name"]]: interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()}


def run_piped(command, array, cwd=None):
    command = [str(part) for part in command]
    done = subprocess.run(command, input=array.tobytes(), stdout=subprocess.PIPE, check=True, cwd=cwd)
    return np.frombuffer(done.stdout, "<f4")


if __name__ == "__main__":
    main()
