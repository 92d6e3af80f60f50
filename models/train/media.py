"""What a picture is shown on when it is shown to a camera: paper or a screen. Tone and gamut, the fine structure (halftone,
pixel grid, and the moire that they make with the sensor's own grid), and how light falls on it.

`place` is a pair of arrays [height, width]: where on the medium each pixel of the scene lies, in pixels of the scene's scale.
"""

import numpy as np

from optics import GAMMA, blurred, glare, grain_of, grey_of, smooth_noise


class Print:
    """Ink on paper: reflects the room's light, has a narrower gamut and no deep black."""

    kind = "print"

    def __init__(self, random):
        self.random = random
        self.glossy = random.random() < 0.45
        self.paper = np.clip(random.normal(0.9, 0.06) + random.normal(0, 0.025, 3), 0.6, 1).astype(np.float32)
        # photo paper is nearly as deep as a screen, plain paper is not
        self.black = np.clip(random.uniform(0.02, 0.26) + random.normal(0, 0.02, 3), 0.01, 0.32).astype(np.float32)
        self.monochrome = random.random() < 0.06
        self.inks = _crosstalk(random, 0.0, 0.16)

    def tone(self, picture):
        """The picture as the printer renders it."""
        random = self.random
        grey = grey_of(picture)
        saturation = 0.0 if self.monochrome else random.uniform(0.6, 1.1)
        inked = np.clip(grey + (picture - grey) * saturation, 0, 1) @ self.inks
        inked = np.clip(inked, 0, 1) ** np.exp(random.normal(0.05, 0.18, 3 if random.random() < 0.5 else 1)).astype(np.float32)
        return self.black + inked * (self.paper - self.black)

    def structured(self, shown, place):
        """Halftone, dither, banding of the print head, grain of the paper."""
        random, (x, y) = self.random, place
        if random.random() < 0.4:
            pitch = float(np.exp(random.uniform(np.log(0.6), np.log(4.0))))
            depth = random.uniform(0.03, 0.3) * (1.0 if pitch > 1.6 else 0.5)
            ink = 4 * shown * (1 - shown)  # dots show in the middle tones
            shown = shown + depth * ink * _screens(x, y, pitch, random) * 0.5
        if random.random() < 0.5:
            dither = grain_of(shown.shape, random)
            shown = shown + random.uniform(0.005, 0.05) * blurred(dither, random.uniform(0.2, 0.9)) * (1.1 - shown)
        if random.random() < 0.25:
            band = np.cos(2 * np.pi * (y if random.random() < 0.7 else x) / random.uniform(3, 25) + random.uniform(0, 6))
            shown = shown * (1 + random.uniform(0.005, 0.04) * band)[..., None]
        grain = grain_of(shown.shape[:2], random)
        return shown * (1 + random.uniform(0, 0.025) * blurred(grain, random.uniform(0.4, 1.5)))[..., None]

    def lit(self, shown, place, mirrored=None):
        """Uneven light, creases, a glossy sheet's reflections: of a lamp, or of what is before it (`mirrored`, of any size)."""
        random, shape = self.random, shown.shape
        light = 1 + random.uniform(0.0, 0.22) * smooth_noise(shape, 2, random)
        if random.random() < 0.3:
            for _ in range(random.integers(1, 4)):
                light = light + _fold(place, random)
        shown = shown * light[..., None]
        if self.glossy:
            if random.random() < 0.6:
                shown = shown + random.uniform(0.05, 0.7) * glare(shape, random)
            if mirrored is not None and random.random() < 0.3:
                shown = shown + random.uniform(0.02, 0.15) * mirrored
        if random.random() < 0.5:
            shown = shown + random.uniform(0, 0.1) * (1 + smooth_noise(shape, 2, random))[..., None]
        return shown


class Screen:
    """A phone, tablet or monitor: gives light of its own, in a grid of coloured cells, behind glass."""

    kind = "screen"

    def __init__(self, random):
        self.random = random
        self.glow = random.uniform(0.0, 0.05)
        self.brightness = 2 ** random.normal(0.1, 0.5)
        warm = random.normal(-0.05, 0.09)  # mostly bluer than the room
        self.white = np.exp(np.array([warm, random.normal(0, 0.03), -warm])).astype(np.float32)
        self.primaries = _crosstalk(random, -0.08, 0.1)

    def tone(self, picture):
        random = self.random
        light = np.clip(picture, 0, 1) ** np.float32(GAMMA * np.exp(random.normal(0, 0.15)))
        light = np.clip(light @ self.primaries, 0, 1)
        light = (light * np.float32(1 - self.glow) + np.float32(self.glow)) * self.white * np.float32(self.brightness)
        if random.random() < 0.5:  # exposed for a darker room: highlights roll off
            light = light / (1 + random.uniform(0.1, 0.6) * light)
        shown = np.sqrt(np.clip(light, 0, 1.3))
        grey = grey_of(shown)
        return grey + (shown - grey) * random.uniform(0.75, 1.25)

    def structured(self, shown, place):
        """The grid of cells, sampled as a sensor samples it: coarse grids show, fine ones make moire."""
        random, (x, y) = self.random, place
        if random.random() < 0.7:
            pitch = float(np.exp(random.uniform(np.log(0.3), np.log(3.5))))
            depth = random.uniform(0.01, 0.3) * (1.0 if pitch > 1.6 else 0.45)
            angle = random.normal(0, 0.12) + (np.pi / 2 if random.random() < 0.2 else 0)
            cosine, sine = float(np.cos(angle)), float(np.sin(angle))
            x, y = x * cosine + y * sine, y * cosine - x * sine
            phase = np.arange(3, dtype=np.float32) / 3 if random.random() < 0.75 else np.zeros(3, np.float32)
            columns = np.cos(2 * np.pi * (x[..., None] / pitch + phase))
            rows = np.cos(2 * np.pi * y / pitch)[..., None]
            shown = shown * (1 + depth * columns + depth * random.uniform(0, 1) * rows)
        if random.random() < 0.2:  # the refresh against a rolling shutter
            band = np.cos(2 * np.pi * np.arange(len(shown)) / random.uniform(50, 600) + random.uniform(0, 6))
            shown = shown * (1 + random.uniform(0.02, 0.12) * band.astype(np.float32))[:, None, None]
        return shown

    def lit(self, shown, place, mirrored=None):
        """Falling off with the angle; the room mirrored in the glass."""
        random, shape = self.random, shown.shape
        shown = shown * (1 + random.uniform(0.0, 0.18) * smooth_noise(shape, 2, random))[..., None]
        if random.random() < 0.5:
            veil = random.uniform(0.0, 0.12) * (1 + smooth_noise(shape, int(random.integers(2, 7)), random))
            shown = shown + veil[..., None] * np.exp(random.normal(0, 0.1, 3)).astype(np.float32)
        if mirrored is not None and random.random() < 0.3:
            shown = shown + random.uniform(0.02, 0.15) * mirrored
        if random.random() < 0.3:
            shown = shown + random.uniform(0.1, 0.9) * glare(shape, random)
        return shown


def _crosstalk(random, least, most):
    """[3, 3], columns summing to 1: how much of each primary the others carry; negative ones make colours stronger."""
    matrix = random.uniform(least, most, (3, 3))
    np.fill_diagonal(matrix, 0)
    return (matrix + np.diag(1 - matrix.sum(0))).astype(np.float32)


def _screens(x, y, pitch, random):
    """Three halftone screens at the printers' angles: [height, width, 3], -1..1."""
    angles = np.radians(np.array([15, 75, 0]) + random.normal(0, 4))
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    u = (x[..., None] * cosine + y[..., None] * sine) * (2 * np.pi / pitch)
    v = (y[..., None] * cosine - x[..., None] * sine) * (2 * np.pi / pitch)
    return np.cos(u) * np.cos(v)


def _fold(place, random):
    """Light on either side of a crease."""
    x, y = place
    angle = float(random.uniform(0, np.pi))
    row, column = (random.integers(n) for n in x.shape)
    distance = (x - x[row, column]) * float(np.cos(angle)) + (y - y[row, column]) * float(np.sin(angle))
    width = random.uniform(4, 40)
    return random.normal(0, 0.12) * np.tanh(distance / width) * np.exp(-np.abs(distance) / (6 * width))
