"""The card's table of sources: what each gave. Run: python card.py FOLDER"""

import csv
import sys
from collections import Counter
from pathlib import Path

import fetch


def main():
    folder = Path(sys.argv[1])
    with open(folder / "subjects.csv", newline="") as opened:
        subjects = Counter((row["source"], row["kind"]) for row in csv.DictReader(opened))
    with open(folder / "pictures.csv", newline="") as opened:
        pictures = Counter((row["source"], row["label"]) for row in csv.DictReader(opened))
    print("| repository, commit | terms | pictures | gave |\n|---|---|---|---|")
    for source in fetch.sources():
        name = source["repository"]
        seen = ", ".join(f"{pictures[name, label]} {label}" for label in source["paths"])
        gave = f"{subjects[name, 'face']} faces, {subjects[name, 'thing']} things" if source["role"] == "train" else "measured only"
        print(f"| {name} {source['commit'][:10]} | {source['terms']} | {seen} | {gave} |")


if __name__ == "__main__":
    main()
