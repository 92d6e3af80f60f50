"""How far a threshold holds for other people: thresholds from one half of the people of a labelled folder, tried on the other.
Run: python calibrate.py EVAL_FOLDER [--cache FILE]. The calibrations themselves are written by `visavis eval --fit`.
"""

import argparse
from pathlib import Path

import numpy as np

from measure import cross_scores, embed_folder, threshold_at


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--cache", type=Path, help="an .npz file that keeps the embeddings between runs")
    options = arguments.parse_args()
    # the central face is the one that LFW's label names: see measure.py
    out_of_sample(embed_folder(options.folder, "central", options.cache))


def out_of_sample(evaluation):
    """Thresholds from every second person, false match rate among the others, and the other way round."""
    names = np.unique(evaluation["identity"])
    even = np.isin(evaluation["identity"], names[::2])
    halves = [cross_scores({k: v[chosen] for k, v in evaluation.items()}) for chosen in (even, ~even)]
    for mode in halves[0]:
        for fitted, tested in (halves, halves[::-1]):
            (_, impostor), (_, others) = fitted[mode], tested[mode]
            for rate in (1e-2, 1e-3, 1e-4):
                threshold = threshold_at(impostor, rate)
                print(f"{mode}: aimed {rate:.0e}, got {(others >= threshold).mean():.2e} of {len(others)} on other people")


if __name__ == "__main__":
    main()
