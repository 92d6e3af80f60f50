"""The packages that the models and the test photos come from: pinned, downloaded by their registry's own client, checked."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    registry: str  # "wheel" or "sdist" (PyPI), "npm"
    name: str
    version: str
    archive: str  # file name that the registry gives
    sha256: str


@dataclass(frozen=True)
class Source:
    """One file inside a package."""

    package: Package
    path: str
    sha256: str


MEDIAPIPE = Package(
    "wheel",
    "mediapipe",
    "0.10.14",
    "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
)
FACE_RECOGNITION_MODELS = Package(
    "sdist",
    "face_recognition_models",
    "0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
)
HUMAN = Package(
    "npm",
    "@vladmandic/human",
    "3.3.6",
    "vladmandic-human-3.3.6.tgz",
    "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
)
FACE_RECOGNITION = Package(
    "sdist",
    "face_recognition",
    "1.3.0",
    "face_recognition-1.3.0.tar.gz",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
)
SCIKIT_IMAGE = Package(
    "wheel",
    "scikit-image",
    "0.25.2",
    "scikit_image-0.25.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
)


def fetch(package, cache):
    """Download `package` into the folder `cache` unless it lies there already; return the archive's path."""
    archive = Path(cache) / package.archive
    if not archive.exists():
        subprocess.run(_download(package, cache), cwd=cache, check=True, stdout=subprocess.DEVNULL)
    check(archive.read_bytes(), package.sha256, package.archive)
    return archive


def extract(source, cache):
    """The checked file of a package, as a path under `cache`."""
    archive = fetch(source.package, cache)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            data = opened.read(source.path)
    else:
        with tarfile.open(archive) as opened:
            data = opened.extractfile(source.path).read()
    check(data, source.sha256, source.path)
    target = Path(cache) / Path(source.path).name
    target.write_bytes(data)
    return target


def check(data, expected, what):
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise SystemExit(f"{what}: sha256 {found}, expected {expected}")


def _download(package, cache):
    pinned = f"{package.name}=={package.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
    if package.registry == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    if package.registry == "sdist":
        return [*pip, "--no-binary", ":all:", pinned]
    # the wheel of one fixed Python, whichever runs this script: we only unzip it
    platform = ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_17_x86_64"]
    return [*pip, *platform, pinned]
