"""Pictures of made-up cards with the portraits of a labelled folder, and lists of pairs for `visavis eval`: how well a small portrait
on a card is found and recognised. Needs opencv-python-headless. Run: python cards.py FOLDER_WITH_identities.csv OUT"""

import csv
import random
import sys
from pathlib import Path

import cv2
import numpy as np

PEOPLE = 250
IMPOSTORS = 12
STYLES = ("colour", "grey", "low", "holo", "all")
# pixels of the photo for one of the card, which is 1012 pixels wide
SCALES = (0.9, 0.55)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789<"


def main(source, out):
    random.seed(7)
    noise = np.random.RandomState(7)
    photos = {}
    with open(source / "identities.csv") as file:
        for row in csv.DictReader(file):
            photos.setdefault(row["identity"], []).append(source / row["image"])
    people = [person for person, own in photos.items() if len(own) > 1]
    random.shuffle(people)
    people = people[:PEOPLE]
    write(out / "plain.csv", photos, people, lambda person: photos[person][0])
    for style in STYLES:
        for scale in SCALES:
            folder = out / f"{style}_{scale}"
            folder.mkdir(parents=True, exist_ok=True)
            for person in people:
                picture = scene(card(cv2.imread(str(photos[person][0])), style), scale, noise)
                cv2.imwrite(str(folder / f"{person}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
            write(out / f"{style}_{scale}.csv", photos, people, lambda person: folder / f"{person}.jpg")


def write(path, photos, people, card_of):
    """Each card against up to three other photos of its person, and one of each of twelve others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        rows = csv.writer(file)
        rows.writerow(["a", "b", "same"])
        for person in people:
            rows.writerows((card_of(person).resolve(), other.resolve(), 1) for other in photos[person][1:4])
            others = (it for it in random.sample(people, IMPOSTORS) if it != person)
            rows.writerows((card_of(person).resolve(), photos[it][-1].resolve(), 0) for it in others)


def card(photo, style):
    """638 x 1012: guilloche, a portrait of 300 x 240 on the left, lines of text on the right, perhaps a hologram over all."""
    picture = np.full((638, 1012, 3), (225, 218, 205), np.float32)
    y, x = np.mgrid[0:638, 0:1012]
    picture += (10 * np.sin(x / 9 + 4 * np.sin(y / 37)))[..., None] * np.array([1, 0.6, 0.3])
    portrait = cv2.resize(photo[12:237, 35:215], (240, 300), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    if style in ("grey", "all"):
        grey = cv2.cvtColor(np.clip(portrait, 0, 255).astype(np.uint8), cv2.COLOR_BGR2GRAY)
        portrait = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.float32)
    if style in ("low", "all"):
        portrait = 128 + (portrait - 128) * 0.45 + 25
    picture[170:470, 60:300] = portrait
    if style in ("holo", "all"):
        lines = np.sin((x * 0.8 + y * 0.6) / 7 + 2 * np.sin(y / 50)) > 0.82
        foil = np.stack(
            [120 + 100 * np.sin(x / 60), 160 + 80 * np.sin(y / 45 + 1), 150 + 90 * np.sin((x + y) / 70 + 2)], -1
        )
        picture = np.where(lines[..., None], 0.55 * picture + 0.45 * foil, picture)
    picture = np.clip(picture, 0, 255).astype(np.uint8).copy()
    for line in range(9):
        text = "".join(random.choice(LETTERS) for _ in range(random.randint(10, 26)))
        place = (340, 150 + line * 42)
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, (60, 50, 40), 2, cv2.LINE_AA)
    return picture


def scene(picture, scale, noise):
    """The card on a mottled table, a little turned and off the middle: 1200 x 1600, with grain."""
    height, width = 1200, 1600
    table = noise.randint(60, 160, (12, 16, 3)).astype(np.uint8)
    table = cv2.resize(table, (width, height), interpolation=cv2.INTER_CUBIC)
    place = cv2.getRotationMatrix2D((506, 319), noise.uniform(-6, 6), scale)
    place[:, 2] += [noise.uniform(0.42, 0.58) * width - 506, noise.uniform(0.42, 0.58) * height - 319]
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    there = cv2.warpAffine(np.full(picture.shape[:2], 255, np.uint8), place, (width, height))
    shown = cv2.warpAffine(smooth, place, (width, height), flags=cv2.INTER_LINEAR)
    photo = np.where(there[..., None] > 128, shown, table).astype(np.float32) + noise.normal(0, 3, (height, width, 1))
    return np.clip(photo, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
