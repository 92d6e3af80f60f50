"""A camera: what lens, sensor, processing and compression do to a scene. Living faces and recaptured pictures go through the
same ones, so that noise, blur, tone or compression alone never tell them apart.

Scenes are float32 arrays [height, width, 3], RGB, 0..1 with the usual gamma; photographs are uint8.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Light is the square of a value: near enough to sRGB's curve, and fast.
GAMMA = 2.0
# Grain is cut out of one large field at a random place; drawing it anew each time would take a third of all time.
GRAIN = np.random.default_rng(0).standard_normal((1600, 1600, 3), dtype=np.float32)


@dataclass(frozen=True)
class Camera:
    """One kind of camera, and of light that it is used in. Pairs are ranges."""

    share: float
    blur: float
    # stops by which it exposes other than right
    exposure: tuple
    # noise variance of full light, and deviation without light: powers of ten
    shot: tuple
    read: tuple
    saturation: tuple
    contrast: tuple
    quality: tuple
    # how often its pictures are enlarged, as those of a smaller sensor
    enlarged: float


CAMERAS = (
    Camera(0.50, 0.8, (-0.6, 0.6), (-4.8, -3.0), (-3.8, -2.4), (0.75, 1.3), (0.85, 1.25), (55, 97), 0.05),  # a phone's
    Camera(0.32, 1.2, (-1.0, 0.7), (-4.2, -2.6), (-3.2, -2.0), (0.45, 1.2), (0.65, 1.2), (25, 88), 0.35),  # a laptop's
    Camera(0.18, 1.3, (-2.2, -0.2), (-3.3, -2.3), (-2.5, -1.7), (0.35, 1.05), (0.6, 1.15), (30, 92), 0.2),  # either in the dark
)


def camera(scene, random, harshness=1.0):
    """Photograph a scene. Returns (photograph, factor): the photograph's side over the scene's.

    `harshness` scales exposure errors, blur and noise: about 1 for a selfie, below for a picture that somebody chose, which is
    always a phone's or better.
    """
    kind = CAMERAS[random.choice(len(CAMERAS), p=[it.share for it in CAMERAS]) if harshness > 0.8 else 0]
    light = lens(np.square(np.clip(scene, 0, 1), dtype=np.float32), random, harshness * kind.blur)
    white = random.normal(0, 0.09 * harshness, 3) + np.array([1, 0, -1]) * random.normal(0, 0.1 * harshness)
    light *= exposure(light, random, kind, harshness) * np.exp(white).astype(np.float32)
    factor = float(random.uniform(0.45, 1)) if random.random() < 0.4 else 1.0
    if factor < 1:
        light = cv2.resize(light, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    photograph = np.sqrt(np.clip(light + noise(light, random, kind, harshness), 0, 1))
    photograph = developed(photograph, random, kind)
    if random.random() < kind.enlarged:
        enlarged = float(random.uniform(1.1, 2.2))
        photograph = cv2.resize(photograph, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_LINEAR)
        factor *= enlarged
    for _ in range(1 + (random.random() < 0.3)):
        photograph = compressed(photograph, int(random.uniform(*kind.quality)))
    return photograph, factor


def lens(light, random, harshness):
    """Defocus, movement, vignetting, stray light; on linear light."""
    if random.random() < 0.65:
        light = blurred(light, min(2.8, random.gamma(1.5, 0.45) * harshness))
    if random.random() < 0.12:
        light = moved(light, random)
    if random.random() < 0.3:
        light = light * vignette(light.shape, random)
    if random.random() < 0.35 * min(1.0, harshness):
        veil = np.float32(random.uniform(0, 0.3))
        light = light * (1 - veil) + veil * light.mean((0, 1)) * np.float32(random.uniform(0.5, 1.5))
    if random.random() < 0.1 * min(1.0, harshness):
        light = light + np.float32(random.uniform(0.02, 0.4)) * np.square(glare(light.shape, random))
    return light


def exposure(light, random, kind, harshness):
    """The gain of an automatic exposure that meters the middle, and is mostly right."""
    height, width = light.shape[:2]
    metered = light[height // 4 : -height // 4, width // 4 : -width // 4].mean()
    right = (0.2 / max(metered, 0.01)) ** random.uniform(0.3, 0.9)
    return np.float32(right * 2.0 ** (random.uniform(*kind.exposure) * harshness))


def blurred(picture, sigma):
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0.15 else picture


def moved(light, random):
    length = int(random.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle = random.uniform(0, np.pi)
    along = np.linspace(-1, 1, 4 * length) * (length - 1) / 2
    x, y = (np.round(along * f(angle) + (length - 1) / 2).astype(int) for f in (np.cos, np.sin))
    kernel[y, x] = 1
    return cv2.filter2D(light, -1, kernel / kernel.sum())


def vignette(shape, random):
    ys, xs = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2])
    return (1 - random.uniform(0.05, 0.35) * (ys[:, None] ** 2 + xs[None] ** 2) / 2)[..., None]


def noise(light, random, kind, harshness):
    """Shot and read noise of linear light; in part smeared, as demosaicing and denoising leave it."""
    shot, read = 10 ** random.uniform(*kind.shot), 10 ** random.uniform(*kind.read)
    grain = grain_of(light.shape, random)
    if random.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * 1.8
    variance = cv2.max(light, 0) * np.float32(shot) + np.float32((read * 0.3) ** 2)
    return grain * np.sqrt(variance) * np.float32(harshness)


def grain_of(shape, random):
    """Independent normal values of the shape [height, width] or [height, width, 3]; at most 1,600 a side."""
    y, x = (random.integers(0, full - side + 1) for full, side in zip(GRAIN.shape[:2], shape))
    field = GRAIN[y : y + shape[0], x : x + shape[1]]
    return field if len(shape) == 3 else field[:, :, int(random.integers(3))]


def grey_of(picture):
    """[height, width, 1]"""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]


def developed(photograph, random, kind):
    """Tone, saturation, denoising, sharpening, beautifying: what phones do. Returns uint8."""
    saturation = np.float32(random.uniform(*kind.saturation))
    photograph = photograph * saturation + grey_of(photograph) * (1 - saturation)
    photograph = cv2.LUT(to_bytes(photograph), _tone(random, kind))
    smoothing = random.random()
    if smoothing < 0.15:
        photograph = cv2.bilateralFilter(photograph, 5, random.uniform(10, 40), 3)  # beauty modes look like this
    elif smoothing < 0.22:
        photograph = cv2.medianBlur(photograph, 3)
    if random.random() < 0.45:
        soft = cv2.GaussianBlur(photograph, (0, 0), random.uniform(0.7, 1.6))
        amount = random.uniform(0.2, 1.4)
        photograph = cv2.addWeighted(photograph, 1 + amount, soft, -amount, 0)
    return photograph


def _tone(random, kind):
    """A curve of 256 bytes: gamma, contrast, brightness."""
    values = np.linspace(0, 1, 256) ** np.exp(random.normal(0, 0.16))
    return to_bytes(0.5 + (values - 0.5) * random.uniform(*kind.contrast) + random.normal(0, 0.025))


def compressed(photograph, quality):
    """Through JPEG and back."""
    coded = cv2.imencode(".jpg", photograph[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])


def to_bytes(picture):
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def smooth_noise(shape, cells, random):
    """Low-frequency noise [height, width], about -1..1: `cells` random values a side, interpolated."""
    coarse = random.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def glare(shape, random):
    """A lamp's or a window's mirror image: [height, width, 1], 0..1, to be added."""
    height, width = shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    cx, cy, angle = random.uniform(0, width), random.uniform(0, height), random.uniform(0, np.pi)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    u, v = (xs - cx) * cosine + (ys - cy) * sine, (ys - cy) * cosine - (xs - cx) * sine
    a, b = random.uniform(0.03, 0.4) * width, random.uniform(0.03, 0.25) * height
    power = int(random.choice([1, 1, 2, 4]))
    return np.exp(-(np.square(u / a) ** power + np.square(v / b) ** power))[..., None]
