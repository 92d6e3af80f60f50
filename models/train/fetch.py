"""Bring the pictures that sources.toml names into a folder: FOLDER/pictures/OWNER+NAME/LABEL/NUMBER.EXTENSION and pictures.csv.

Each repository is cloned at its pinned commit, only the blobs that are asked for; or read from `mirror`, a folder of clones
named OWNER+NAME. Nothing of it is ever committed here.
"""

import csv
import re
import subprocess
import tomllib
from pathlib import Path

SOURCES = Path(__file__).with_name("sources.toml")
PICTURE = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)


def sources():
    """[{"repository", "commit", "terms", "role", "paths": {label: regular expression}}]"""
    return tomllib.loads(SOURCES.read_text())["sources"]


def fetch(folder, mirror=None):
    """Fetch what is not there yet. Writes pictures.csv: file, source, label, role, path (within the source)."""
    rows = []
    for source in sources():
        name = source["repository"].replace("/", "+")
        target = folder / "pictures" / name
        index = target / "index.csv"
        if not index.exists():
            _extract(source, _repository(source, folder / "clones" / name, mirror), target, index)
        with open(index, newline="") as opened:
            rows += [{**row, "source": source["repository"], "role": source["role"]} for row in csv.DictReader(opened)]
    with open(folder / "pictures.csv", "w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "source", "label", "role", "path"])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _repository(source, clone, mirror):
    if mirror:
        found = mirror / source["repository"].replace("/", "+")
        return next(path for path in (found / "repo" / ".git", found / "repo", found / ".git", found) if (path / "HEAD").exists())
    if not clone.exists():
        url = f"https://github.com/{source['repository']}.git"
        _git(None, "clone", "--bare", "--filter=blob:none", url, str(clone))
    return clone


def _extract(source, repository, target, index):
    listing = _git(repository, "ls-tree", "-r", "-z", "--name-only", source["commit"]).decode("utf-8", "replace")
    paths = sorted(path for path in listing.split("\0") if PICTURE.search(path))
    rows = []
    for label, expression in source["paths"].items():
        (target / label).mkdir(parents=True, exist_ok=True)
        wanted = _evenly([path for path in paths if re.search(expression, path)], source.get("most"))
        for number, path in enumerate(wanted):
            file = target / label / f"{number:05}{Path(path).suffix.lower()}"
            try:
                file.write_bytes(_git(repository, "show", f"{source['commit']}:{path}"))
            except subprocess.CalledProcessError:
                continue  # a mirror may lack the largest files
            rows.append({"file": str(file.relative_to(target.parent.parent)), "label": label, "path": path})
    with open(index, "w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "label", "path"])
        writer.writeheader()
        writer.writerows(rows)


def _evenly(items, most):
    """`most` of the items, at even distances; all of them where that is None."""
    if most is None or len(items) <= most:
        return items
    return [items[n * len(items) // most] for n in range(most)]


def _git(repository, *arguments):
    where = ["-c", "safe.directory=*", f"--git-dir={repository}"] if repository else []
    return subprocess.run(["git", *where, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
