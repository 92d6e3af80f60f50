"""Fetch the test photos from their pinned packages and make the others from them. Run: python photos.py [--cache DIR]

Only the NASA picture is edited: the White House photos carry a notice that asks not to manipulate them (tests/photos/PROVENANCE.md).
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image

from packages import FACE_RECOGNITION, SCIKIT_IMAGE, Source, extract

ROOT = Path(__file__).resolve().parent.parent.parent
PHOTOS = ROOT / "tests" / "photos"

SOURCES = (
    Source(
        FACE_RECOGNITION,
        "face_recognition-1.3.0/tests/test_images/obama.jpg",
        "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
    ),
    Source(
        FACE_RECOGNITION,
        "face_recognition-1.3.0/tests/test_images/obama2.jpg",
        "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    ),
    Source(
        FACE_RECOGNITION,
        "face_recognition-1.3.0/tests/test_images/biden.jpg",
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
    ),
    Source(
        SCIKIT_IMAGE,
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
)

GREY = (128, 128, 128)
EXIF_ORIENTATION = 274
TURN_CLOCKWISE_TO_VIEW = 6

NOT_AN_IMAGE = """This is not a picture.
It is a few lines of plain text under a picture's name,
for the tests of what a decoder does with such a file.
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cache", type=Path, default=ROOT / ".local" / "convert", help="downloads")
    options = arguments.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    PHOTOS.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        shutil.copyfile(extract(source, options.cache), PHOTOS / Path(source.path).name)
    derive(Image.open(PHOTOS / "astronaut.png"))
    (PHOTOS / "not-an-image.jpg").write_text(NOT_AN_IMAGE)


def derive(astronaut):
    """Pictures for the edges of the pipeline, all from the 512 x 512 NASA portrait."""
    # the suit and the helmet
    astronaut.crop((0, 250, 512, 512)).save(PHOTOS / "no-face.png", optimize=True)

    # eyes far from level; cropped afterwards so that no black corner frames the face
    tilted = astronaut.rotate(25, Image.Resampling.BICUBIC, center=(225, 120), fillcolor=GREY)
    tilted.crop((65, 0, 385, 320)).save(PHOTOS / "tilted.png", optimize=True)

    # a face of a thirteenth of the frame's width: too small for the short range, found by the full range
    small = Image.new("RGB", (640, 480), GREY)
    small.paste(astronaut.resize((272, 272), Image.Resampling.LANCZOS), (338, 188))
    small.save(PHOTOS / "small-face.png", optimize=True)

    # the same person twice: the larger one, on the right, is the primary face
    two = Image.new("RGB", (480, 320), GREY)
    two.paste(astronaut.crop((110, 0, 330, 220)).resize((140, 140), Image.Resampling.LANCZOS), (20, 90))
    two.paste(astronaut.crop((90, 0, 370, 280)), (190, 20))
    two.save(PHOTOS / "two-faces.png", optimize=True)

    # stored lying on its side, as phones do; upright once its EXIF orientation is applied
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURN_CLOCKWISE_TO_VIEW
    lying = astronaut.transpose(Image.Transpose.ROTATE_90)
    lying.save(PHOTOS / "exif-rotated.jpg", quality=95, subsampling=0, exif=exif)


if __name__ == "__main__":
    main()
