"""Check the pack against its manifest: hashes, tensor names and shapes, templates, calibrations. Run: python check.py"""

import hashlib
import tomllib

import numpy as np
import onnxruntime

import convert
import reference

MODELS = reference.MODELS
TEMPLATES = {"dlib_resnet": reference.DLIB_TEMPLATE, "faceres": reference.FACERES_TEMPLATE}
SOURCES = {
    "blazeface_short": [convert.BLAZEFACE_SHORT],
    "blazeface_full_sparse": [convert.BLAZEFACE_FULL_SPARSE],
    "face_landmark": [convert.FACE_LANDMARK],
    "dlib_resnet": [convert.DLIB_RESNET],
    "faceres": [convert.FACERES_TOPOLOGY, convert.FACERES_WEIGHTS],
}


def main():
    with open(MODELS / "manifest.toml", "rb") as opened:
        manifest = tomllib.load(opened)
    for model in manifest["models"]:
        check_model(model)
    for mode, settings in manifest["modes"].items():
        expect(settings["calibration_sha256"], sha256(MODELS / settings["calibration"]), f"calibration of {mode}")
    parts = [(entry["weight"], entry.get("mirrored", False)) for entry in manifest["modes"]["accurate"]["embedders"]]
    expect(parts, [(reference.FUSION_DLIB, True), (reference.FUSION_FACERES, False)], "fusion")
    print(f"{len(manifest['models'])} models, {len(manifest['modes'])} modes: as the manifest says")


def check_model(model):
    name = model["name"]
    path = MODELS / model["file"]
    expect(model["sha256"], sha256(path), f"{name}: sha256")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    expected = model["input"]
    free = source.shape[0]
    expect([source.name, free.upper(), *source.shape[1:]], [expected["name"], "N", 3, expected["height"], expected["width"]], f"{name}: input")
    outputs = {output.name: output.shape for output in session.get_outputs()}
    expect(outputs, {output.get("tensor", output["name"]): [free, *output["shape"]] for output in model["outputs"]}, f"{name}: outputs")
    check_batch(session, name)
    origin = model["origin"]
    if "trained_by" in origin:
        expect((MODELS / origin["trained_by"]).is_file(), True, f"{name}: the script that trained it")
        return
    package = SOURCES[name][0].package
    expect(
        [origin["package"], origin["version"], origin["archive"], origin["archive_sha256"]],
        [package.name, package.version, package.archive, package.sha256],
        f"{name}: origin",
    )
    expect(origin["files"], [{"path": s.path, "sha256": s.sha256} for s in SOURCES[name]], f"{name}: origin's files")
    if name in TEMPLATES and not np.allclose(model["params"]["template"], TEMPLATES[name], atol=1e-9):
        raise SystemExit(f"{name}: another template than the reference")


def check_batch(session, name):
    """A row of a batch equals the single run."""
    shape = session.get_inputs()[0].shape[1:]
    batch = np.random.default_rng(1).random((3, *shape), np.float32)
    together = session.run(None, {"input": batch})
    alone = session.run(None, {"input": batch[1:2]})
    if not all(np.allclose(a[1], b[0], rtol=1e-4, atol=1e-4) for a, b in zip(together, alone)):
        raise SystemExit(f"{name}: a row of a batch differs from the single run")


def expect(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: {found}, expected {expected}")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
