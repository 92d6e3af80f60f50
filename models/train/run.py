"""From nothing to ../visavis_liveness_*_large.onnx. Run: python run.py FOLDER [--sources MIRROR] [--pack FOLDER] [--samples N] [--workers N]

FOLDER takes everything that is made on the way, some 6 GB; a step whose result lies there is not taken again.
"""

import argparse
import time
from pathlib import Path

import torch

import evaluate
import faces
import fetch
import simulate
import subjects
from export import export
from train import train

MODELS = Path(__file__).resolve().parent.parent
# What each network sees; the number is the seed of its weights.
NETWORKS = (("wide", 1), ("tight", 1))
SAMPLES = 66_000


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--sources", type=Path, help="a folder of clones named OWNER+NAME, instead of the network")
    arguments.add_argument("--pack", type=Path, help="the folder of the MiniFASNet pack, to be measured beside ours")
    arguments.add_argument("--samples", type=int, default=SAMPLES)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--only", choices=[name for name, _ in NETWORKS], help="train this network alone")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    folder, workers = options.folder, options.workers
    folder.mkdir(parents=True, exist_ok=True)
    found = step("faces", faces.find, folder, step("pictures", fetch.fetch, folder, options.sources), workers)
    step("samples", simulate.simulate, folder, step("subjects", subjects.cut, folder, found, workers), options.samples, workers)
    for name, seed in NETWORKS:
        if options.only in (None, name):
            network = step(name, train, folder, name, seed)
            torch.save(network.state_dict(), folder / f"{name}-{seed}.pt")
            export(network, MODELS / f"visavis_liveness_{name}_large.onnx")
    real = step("real pictures", evaluate.cut, folder, found, "validate", options.pack)
    print("\n".join(evaluate.report(real)))


def step(name, function, *arguments):
    start = time.monotonic()
    result = function(*arguments)
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
