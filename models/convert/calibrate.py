"""Fit the calibrations of both modes and write ../calibration/<mode>.toml. Run: python calibrate.py EVAL_FOLDER [--cache FILE]

A calibration maps a mode's raw score onto [0, 1] by straight lines between knots. The knots stand where the impostor pairs
reach stated false match rates, so that 0.60, 0.75 and 0.85 mean an FMR of 1e-2, 1e-3 and 1e-4 on that data.
"""

import argparse
import datetime
import math
import tomllib
from pathlib import Path

import numpy as np

from measure import cross_scores, embed_folder, threshold_at
from reference import FUSION_DLIB, FUSION_FACERES, MODELS

CALIBRATION = MODELS / "calibration"
VERSION = "1"
SCORES = {
    "fast": "cosine(dlib_resnet)",
    "accurate": f"{FUSION_DLIB} * cosine(dlib_resnet) + {FUSION_FACERES} * cosine(faceres)",
}

# log10 of the false match rate -> calibrated score. Between 1e-2 and 1e-4 the contract's marks, and half-way knots on the
# line between them; below 0.60 the score only has to rise, 0.90 begins the "near-identical" band.
MARKS = (
    (math.log10(0.99), 0.05),
    (math.log10(0.9), 0.10),
    (math.log10(0.5), 0.25),
    (-1.0, 0.45),
    (-1.5, 0.525),
    (-2.0, 0.60),
    (-2.5, 0.675),
    (-3.0, 0.75),
    (-3.5, 0.80),
    (-4.0, 0.85),
)
# 1e-5 would rest on a dozen pairs of the data: it is read off a parabola through the tail's thresholds instead
TAIL = (-2.0, -2.5, -3.0, -3.5, -4.0)
EXTRAPOLATED = (-5.0, 0.90)
DIGITS = 6


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--cache", type=Path, help="an .npz file that keeps the embeddings between runs")
    arguments.add_argument("--date", default=datetime.date.today().isoformat())
    options = arguments.parse_args()
    # the central face is the one that LFW's label names: see measure.py
    evaluation = embed_folder(options.folder, "central", options.cache)
    CALIBRATION.mkdir(exist_ok=True)
    for mode, (genuine, impostor) in cross_scores(evaluation).items():
        text = describe(mode, genuine, impostor, len(evaluation["identity"]), options.date)
        (CALIBRATION / f"{mode}.toml").write_text(text)
        print(text)
    out_of_sample(evaluation)


def describe(mode, genuine, impostor, images, date):
    """The TOML text of one calibration."""
    points = [(10**power, raised(threshold_at(impostor, 10**power)), score) for power, score in MARKS]
    points.append((10 ** EXTRAPOLATED[0], raised(extrapolate(impostor)), EXTRAPOLATED[1]))
    knots = [(-1.0, 0.0), *((raw, score) for _, raw, score in points), (1.0, 1.0)]
    if any(a[0] >= b[0] or a[1] >= b[1] for a, b in zip(knots, knots[1:])):
        raise SystemExit(f"{mode}: the knots do not rise: {knots}")
    lines = [
        "# Written by models/convert/calibrate.py. Straight lines between the knots; a raw score outside them is clamped.",
        f'version = "{VERSION}"',
        f'mode = "{mode}"',
        f'score = "{SCORES[mode]}"',
        'fitted_on = "LFW folds 1 and 2 (1,583 images), all pairs of two different images"',
        f'fitted_at = "{date}"',
        f"images = {images}",
        f"genuine_pairs = {len(genuine)}",
        f"impostor_pairs = {len(impostor)}",
        "# [raw, calibrated]",
        "knots = [",
        *(f"  [{raw:.{DIGITS}f}, {score}]," for raw, score in knots),
        "]",
    ]
    for rate, raw, score in points:
        lines += [
            "",
            "[[operating_points]]",
            f"fmr = {rate:.6g}",
            f"raw = {raw:.{DIGITS}f}",
            f"calibrated = {score}",
            f"tar = {(genuine >= raw).mean():.4f}",
            f"extrapolated = {'true' if rate == 10 ** EXTRAPOLATED[0] else 'false'}",
        ]
    return "\n".join(lines) + "\n"


def raised(threshold):
    """Rounded up, so that the written threshold never lets more impostors in than the exact one."""
    return math.ceil(threshold * 10**DIGITS) / 10**DIGITS


def extrapolate(impostor):
    thresholds = [threshold_at(impostor, 10**power) for power in TAIL]
    return float(np.polyval(np.polyfit(TAIL, thresholds, 2), EXTRAPOLATED[0]))


def out_of_sample(evaluation):
    """Thresholds from every second person, false match rate among the others, and the other way round."""
    names = np.unique(evaluation["identity"])
    even = np.isin(evaluation["identity"], names[::2])
    halves = [cross_scores({k: v[chosen] for k, v in evaluation.items()}) for chosen in (even, ~even)]
    for mode in SCORES:
        for fitted, tested in (halves, halves[::-1]):
            (_, impostor), (_, others) = fitted[mode], tested[mode]
            for rate in (1e-2, 1e-3, 1e-4):
                threshold = threshold_at(impostor, rate)
                print(f"{mode}: aimed {rate:.0e}, got {(others >= threshold).mean():.2e} of {len(others)} on other people")


def load(mode):
    with open(CALIBRATION / f"{mode}.toml", "rb") as opened:
        return tomllib.load(opened)


def apply(calibration, raw):
    """The calibrated score of a raw one."""
    knots = np.array(calibration["knots"])
    return float(np.interp(raw, knots[:, 0], knots[:, 1]))


if __name__ == "__main__":
    main()
