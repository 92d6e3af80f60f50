"""A camera: what lens, sensor, processing and compression do to a scene. Living faces and recaptured pictures go through the
same one, so that noise, blur or compression alone never tell them apart.

Scenes are float32 arrays [height, width, 3], RGB, 0..1 with the usual gamma; photographs are uint8.
"""

import cv2
import numpy as np

# Light is the square of a value: near enough to sRGB's curve, and fast.
GAMMA = 2.0
# Grain is cut out of one large field at a random place; drawing it anew each time would take a third of all time.
GRAIN = np.random.default_rng(0).standard_normal((1600, 1600, 3), dtype=np.float32)


def camera(scene, random, harshness=1.0):
    """Photograph a scene. Returns (photograph, factor): the photograph's side over the scene's.

    `harshness` scales exposure errors, blur and noise: about 1 for a selfie, below for a picture that somebody chose.
    """
    light = lens(np.square(np.clip(scene, 0, 1)), random, harshness)
    light *= exposure(light, random, harshness) * np.exp(random.normal(0, 0.06 * harshness, 3)).astype(np.float32)
    factor = float(random.uniform(0.45, 1)) if random.random() < 0.6 else 1.0
    if factor < 1:
        light = cv2.resize(light, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    photograph = np.sqrt(np.clip(light + noise(light, random, harshness), 0, 1))
    photograph = developed(photograph, random)
    for _ in range(1 + (random.random() < 0.35)):
        photograph = compressed(photograph, int(random.uniform(38, 97)))
    return photograph, factor


def lens(light, random, harshness):
    """Defocus, movement, vignetting; on linear light."""
    if random.random() < 0.6:
        light = blurred(light, min(2.6, random.gamma(1.5, 0.45) * harshness))
    if random.random() < 0.12:
        light = moved(light, random)
    if random.random() < 0.3:
        light = light * vignette(light.shape, random)
    return light


def exposure(light, random, harshness):
    """The gain of an automatic exposure that meters the middle, and is mostly right."""
    height, width = light.shape[:2]
    metered = light[height // 4 : -height // 4, width // 4 : -width // 4].mean()
    right = (0.2 / max(metered, 0.01)) ** random.uniform(0.3, 0.9)
    return np.float32(right * 2.0 ** random.normal(0, 0.4 * harshness))


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


def noise(light, random, harshness):
    """Shot and read noise of linear light; in part smeared, as demosaicing and denoising leave it."""
    shot, read = 10 ** random.uniform(-4.6, -2.5), 10 ** random.uniform(-3.6, -1.9)
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


def developed(photograph, random):
    """Tone, saturation, denoising, sharpening, beautifying: what phones do. Returns uint8."""
    saturation = np.float32(random.uniform(0.65, 1.3))
    photograph = photograph * saturation + grey_of(photograph) * (1 - saturation)
    photograph = cv2.LUT(to_bytes(photograph), _tone(random))
    kind = random.random()
    if kind < 0.12:
        photograph = cv2.bilateralFilter(photograph, 5, random.uniform(10, 40), 3)  # beauty modes look like this
    elif kind < 0.2:
        photograph = cv2.medianBlur(photograph, 3)
    if random.random() < 0.4:
        soft = cv2.GaussianBlur(photograph, (0, 0), random.uniform(0.7, 1.6))
        amount = random.uniform(0.2, 1.4)
        photograph = cv2.addWeighted(photograph, 1 + amount, soft, -amount, 0)
    return photograph


def _tone(random):
    """A curve of 256 bytes: gamma, contrast, brightness."""
    values = np.linspace(0, 1, 256) ** np.exp(random.normal(0, 0.14))
    return to_bytes(0.5 + (values - 0.5) * random.uniform(0.8, 1.2) + random.normal(0, 0.02))


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
