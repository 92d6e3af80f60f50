"""Measure networks on real pictures of sources that they were not trained on: AUC by source and kind of attack, APCER at a BPCER,
with and without the optional MiniFASNet pack.

Run: python evaluate.py FOLDER, after run.py cut the chips of real pictures into FOLDER.
"""

import csv
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

import faces
import simulate
import subjects
import windows

# MiniFASNet's networks: file, scale. Fed BGR 0..255, bilinear to 80 x 80, class 1 is live.
PACK = (("2.7_80x80_MiniFASNetV2.onnx", 2.7), ("4_0_0_80x80_MiniFASNetV1SE.onnx", 4.0))
PACK_SIDE = 80
LIVE = simulate.CLASSES.index("live")
# A source with many pictures of one scene (frames of a video) counts for no more than this many, evenly taken.
MOST = 150
LEAST_CONTEXT = 2.0
MODELS = Path(__file__).resolve().parent.parent
# Taken to be this far from 0 and 1 at least, so that no network outvotes all others.
LEAST_DOUBT = 1e-6


def main():
    print("\n".join(report(dict(np.load(Path(sys.argv[1]) / "real-validate.npz")))))


def report(real):
    """Lines about the networks as the manifest puts them together, alone and with the pack where it was measured."""
    default = manifest("manifest.toml")
    own = sum(
        entry["weight"] * score(session(MODELS / f"{entry['model']}.onnx"), real[window_of(entry["model"])])
        for entry in default["models"]
    )
    lines = table(real, own) + verdicts("ours", real, sigmoid(logit(own) + default["shift"]), default["spoof_below"])
    if np.isnan(real["pack"]).any():
        return lines
    pack = manifest("packs/minifasnet.toml")
    fused = pack["fusion"]["default"] * logit(own) + pack["fusion"]["own"] * logit(real["pack"]) + pack["shift"]
    return lines + verdicts("both", real, sigmoid(fused), pack["spoof_below"])


def window_of(model):
    """"wide" or "tight", of a network's name in the manifest."""
    return model.split("_")[2]


def manifest(file):
    with open(MODELS / file, "rb") as opened:
        return tomllib.load(opened)["liveness"]


def verdicts(name, real, scores, spoof_below):
    """Of faces: the rates at 0.5, and how many are rejected and left to a person."""
    lines = []
    for where, found in rates(real, scores).items():
        figures = ", ".join(f"{key} {found[key]:.3f}" for key in ("auc", "eer", "bpcer", "apcer"))
        lines.append(f"{name}, {where}: {found['live']} living, {found['attacks']} attacks, {figures}")
    here = (real["kind"] == "face") & (real["context"] >= LEAST_CONTEXT)
    for label, chosen in (("living", real["label"] == "live"), ("attacks", real["label"] != "live")):
        own = scores[here & chosen]
        for verdict, count in (("rejected", (own < spoof_below).sum()), ("in review", ((own >= spoof_below) & (own < 0.5)).sum())):
            lines.append(f"{name}, in context, {label} {verdict}: {count} of {len(own)}, {count / len(own):.3f}")
    return lines


def logit(p):
    p = np.clip(p, LEAST_DOUBT, 1 - LEAST_DOUBT)
    return np.log(p / (1 - p))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cut(folder, rows, role, pack=None):
    """Chips of the pictures of `role` among rows (those that faces.find returns), the most prominent face of each.

    Returns {"source", "label", "kind", "context", "wide" uint8 [n, S, S, 3], "tight", "pack" [n] or none}; cached in FOLDER.
    """
    cache = folder / f"real-{role}.npz"
    if not cache.exists():
        networks = [(_session(pack / file), scale) for file, scale in PACK] if pack else []
        found = [_chips(folder, row, networks) for row in _chosen(rows, role)]
        found = [item for item in found if item]
        np.savez(cache, **{name: np.array([item[name] for item in found]) for name in found[0]})
    return dict(np.load(cache))


def _chosen(rows, role):
    groups, seen = {}, set()
    for row in rows:
        if row["role"] == role and row["file"] not in seen:
            seen.add(row["file"])
            groups.setdefault((row["source"], row["label"], bool(row["left"])), []).append(row)
    for group in groups.values():
        yield from (group[n] for n in np.unique(np.linspace(0, len(group) - 1, min(MOST, len(group))).astype(int)))


def _chips(folder, row, networks):
    picture = faces.load(folder / row["file"])
    if picture is None:
        return None
    if row["left"]:
        box, kind = np.array([float(row[name]) for name in ("left", "top", "right", "bottom")]), "face"
    else:
        box, kind = subjects._thing(picture), "thing"
    chips, context = simulate.chips_of(picture, box)
    item = {"source": row["source"], "label": row["label"], "picture": row["file"], "kind": kind, "context": context} | chips
    scores = [_pack_score(session, picture, box, scale) for session, scale in networks]
    return item | {"pack": np.mean(scores) if scores else np.nan}


def _pack_score(session, picture, box, scale):
    height, width = picture.shape[:2]
    left, top, right, bottom, _ = windows.window(box, scale, width, height)
    chip = cv2.resize(picture[top : bottom + 1, left : right + 1], (PACK_SIDE, PACK_SIDE), interpolation=cv2.INTER_LINEAR)
    return live(session.run(None, {"input": _planes(chip[None])})[0])[0]


def score(session, chips, batch=64):
    """Probabilities of `live` [n] of chips [n, S, S, 3] RGB, by an ONNX session."""
    parts = [session.run(None, {"input": _planes(chips[n : n + batch])})[0] for n in range(0, len(chips), batch)]
    return live(np.concatenate(parts)) if parts else np.zeros(0)


def live(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised[:, LIVE] / raised.sum(1)


def session(path):
    return _session(path)


def auc(living, attacks):
    """The probability that a living person's score is above an attack's, ties halved."""
    if not len(living) or not len(attacks):
        return float("nan")
    both = np.concatenate([living, attacks])
    _, rank, counts = np.unique(both, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return float((middle[rank[: len(living)]].sum() - len(living) * (len(living) + 1) / 2) / (len(living) * len(attacks)))


def apcer_at(living, attacks, bpcer):
    """(threshold, APCER): the threshold that refuses this share of the living."""
    threshold = float(np.quantile(living, bpcer))
    return threshold, float((attacks >= threshold).mean())


def eer(living, attacks):
    thresholds = np.unique(np.concatenate([living, attacks]))
    rates = [((living < t).mean(), (attacks >= t).mean()) for t in thresholds]
    return float(np.mean(min(rates, key=lambda pair: abs(pair[0] - pair[1])))) if len(living) and len(attacks) else float("nan")


def table(real, scores):
    """Lines of a table: per source and kind of subject AUC and counts, then pooled, then where the context is enough."""
    lines = ["source | subject | live | attacks | AUC", "---|---|---|---|---"]
    for source in sorted(set(real["source"])):
        for kind in ("face", "thing"):
            here = (real["source"] == source) & (real["kind"] == kind)
            lines += _line(source, kind, real, scores, here)
    for kind in ("face", "thing"):
        here = real["kind"] == kind
        lines += _line("all", kind, real, scores, here)
        lines += _line(f"all, context >= {LEAST_CONTEXT}", kind, real, scores, here & (real["context"] >= LEAST_CONTEXT))
    return lines


def _line(name, kind, real, scores, here):
    living, attacks = scores[here & (real["label"] == "live")], scores[here & (real["label"] != "live")]
    if len(living) < 5 or len(attacks) < 5:
        return []
    parts = [f"{name} | {kind} | {len(living)} | {len(attacks)} | {auc(living, attacks):.3f}"]
    for label in sorted(set(real["label"][here]) - {"live"}):
        own = scores[here & (real["label"] == label)]
        if len(own) >= 5 and name.startswith("all"):
            parts.append(f"{label}: AUC {auc(living, own):.3f}, APCER {apcer_at(living, own, 0.15)[1]:.3f} at BPCER 0.15")
    return ["; ".join(parts)]


def _planes(chips):
    """RGB [n, S, S, 3] uint8 -> BGR [n, 3, S, S] f32."""
    return np.ascontiguousarray(chips[..., ::-1].transpose(0, 3, 1, 2), np.float32)


def _session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read(path):
    with open(path, newline="") as opened:
        return list(csv.DictReader(opened))


def rates(real, scores, threshold=0.5):
    """Of faces: {"bpcer", "apcer", "auc", "eer", counts}, over all and where the context is enough."""
    found = {}
    for name, here in (("all", real["context"] > 0), ("in context", real["context"] >= LEAST_CONTEXT)):
        here = here & (real["kind"] == "face")
        living, attacks = scores[here & (real["label"] == "live")], scores[here & (real["label"] != "live")]
        found[name] = {
            "live": len(living), "attacks": len(attacks), "auc": auc(living, attacks), "eer": eer(living, attacks),
            "bpcer": float((living < threshold).mean()), "apcer": float((attacks >= threshold).mean()),
        }
    return found


if __name__ == "__main__":
    main()
