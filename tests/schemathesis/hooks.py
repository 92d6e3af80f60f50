"""Our formats, and how long schemathesis may wait."""

import base64
import struct
import zlib

import schemathesis
from hypothesis import strategies as st


def png(side: int, grey: int) -> bytes:
    """A square of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([grey]) * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


IMAGES = [base64.b64encode(png(side, grey)).decode() for side, grey in [(1, 0), (16, 128), (300, 255)]]

# `image-base64` is a format of our own: pictures, raw or as data URLs.
schemathesis.openapi.format(
    "image-base64",
    st.sampled_from(IMAGES + [f"data:image/jpeg;base64,{IMAGES[0]}"]),
)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Nobody has a minute for each long poll: one within the bounds does not wait."""
    wait = (case.query or {}).get("wait")
    try:
        if 1 < int(wait) <= 60:
            case.query["wait"] = 0
    except (TypeError, ValueError):
        pass  # Not a number: the API says so.
