"""The face pipeline in numpy and onnxruntime: the written-down truth that the Rust implementation is tested against.

detect (short range, presence gate, full range as second look) -> 468 landmarks -> five points -> aligned chips -> embeddings.
Every convention is numbered in README.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import imaging

MODELS = Path(__file__).resolve().parent.parent

SCORE_THRESHOLD = 0.5
NMS_IOU = 0.3
PRESENCE_THRESHOLD = 0.5
SHORT_SIDE = 128
# Pixels across of a box, as the short range sees the picture: below this it looks again from nearby
SMALL_FACE = 20
CLOSER_LOOKS = 2
ROI_SCALE = 1.5
LANDMARK_SIDE = 192
LANDMARKS = 468

# landmark indices whose means are right eye, left eye, nose tip, right and left corner of the mouth (the subject's sides)
FIVE_POINTS = ((33, 133), (362, 263), (1,), (61,), (291,))

DLIB_SIDE = 150
DLIB_TEMPLATE = np.array([[48.4, 47.0], [100.9, 47.0], [74.4, 81.5], [51.6, 104.0], [97.2, 104.0]])

ARCFACE_112 = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
FACERES_SIDE = 224
FACERES_TEMPLATE = ((ARCFACE_112 - 56) * 0.9 + 56) * 2
FACERES_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)

FUSION_DLIB, FUSION_FACERES = 0.8214, 0.1786


@dataclass
class Detection:
    """One face: box (left, top, right, bottom) and six points in source pixels; presence and landmarks once measured."""

    box: np.ndarray
    score: float
    points: np.ndarray  # [6, 2]: right eye, left eye, nose, mouth, right ear, left ear
    presence: float | None = None
    landmarks: np.ndarray | None = None  # [468, 2]

    @property
    def area(self):
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    def prominence(self, width, height):
        """How much of the picture's attention the box has: its area within the picture times the share that lies there."""
        left, top = np.maximum(self.box[:2], 0)
        right, bottom = np.minimum(self.box[2:], (width, height))
        visible = float(max(right - left, 0) * max(bottom - top, 0))
        return visible * visible / self.area if visible else 0.0

    @property
    def five_points(self):
        return np.array([self.landmarks[list(indices)].mean(0) for indices in FIVE_POINTS])


@dataclass
class Found:
    """What detection gave: the range that answered ("short", "full" or None) and the faces that passed, most prominent first."""

    range: str | None
    faces: list
    rejected: list  # detections whose landmarks said: no face


class Model:
    """An ONNX session on one thread."""

    def __init__(self, name):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = MODELS / f"{name}.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, planes):
        """Run one NHWC or HWC f32 picture; {output name: array without the batch dimension}."""
        batch = np.ascontiguousarray(planes.transpose(2, 0, 1)[None], np.float32)
        return {name: value[0] for name, value in zip(self._outputs, self._session.run(None, {"input": batch}))}


class Detector:
    """BlazeFace, short or full range."""

    def __init__(self, name, side, grids):
        self._model = Model(name)
        self._side = side
        self._anchors = anchors(grids)

    def __call__(self, image):
        square, scale, left, top = imaging.letterbox(image, self._side)
        output = self._model.run(normalise_detector(square))
        scores = sigmoid(output["scores"][:, 0].astype(np.float64))
        kept = scores >= SCORE_THRESHOLD
        # centre and points are offsets from the anchor, the size stands alone; all in pixels of the square
        raw = output["boxes"][kept].astype(np.float64) / self._side
        anchor = self._anchors[kept]
        centre, size = raw[:, :2] + anchor, raw[:, 2:4]
        corners = np.concatenate([centre - size / 2, centre + size / 2], 1).reshape(-1, 2, 2)
        points = raw[:, 4:].reshape(-1, 6, 2) + anchor[:, None]
        faces = weighted_nms(corners, scores[kept], points)
        offset = np.array([left, top])
        return [
            Detection(((c * self._side - offset) / scale).ravel(), float(s), (p * self._side - offset) / scale)
            for c, s, p in faces
        ]


class Landmarker:
    def __init__(self):
        self._model = Model("face_landmark")

    def __call__(self, image, detection):
        """(presence in 0..1, landmarks [468, 2] in source pixels)"""
        matrix = roi_matrix(detection)
        crop = imaging.warp(image, matrix, LANDMARK_SIDE)
        output = self._model.run(normalise_landmark(crop))
        points = output["landmarks"][:, :2].astype(np.float64)
        return float(sigmoid(output["presence"][0])), imaging.transform(imaging.invert(matrix), points)


class Pipeline:
    def __init__(self):
        self._short = Detector("blazeface_short", SHORT_SIDE, ((16, 2), (8, 6)))
        self._full = Detector("blazeface_full_sparse", 192, ((48, 1),))
        self._landmarker = Landmarker()
        self._dlib = Model("dlib_resnet")
        self._faceres = Model("faceres")

    def detect(self, image):
        """The cascade: the full range has its say only when the short range found no face that passes the gate."""
        rejected = []
        for name, detector in (("short", self._short), ("full", self._full)):
            faces = detector(image)
            for face in faces:
                face.presence, face.landmarks = self._landmarker(image, face)
            rejected += [f for f in faces if f.presence < PRESENCE_THRESHOLD]
            faces = [f for f in faces if f.presence >= PRESENCE_THRESHOLD]
            if faces:
                height, width = image.shape[:2]
                faces = sorted(faces, key=lambda f: -f.prominence(width, height))
                return Found(name, [self._closer(image, faces[0]), *faces[1:]], rejected)
        return Found(None, [], rejected)

    def _closer(self, image, face):
        """The face as the short range sees it from nearby, where it is small in its picture."""
        height, width = image.shape[:2]
        seen = max(width, height)
        for _ in range(CLOSER_LOOKS):
            left, top, right, bottom = face.box
            if (right - left) * SHORT_SIDE / seen >= SMALL_FACE:
                break
            nearby = np.array([2 * left - right, 2 * top - bottom, 2 * right - left, 2 * bottom - top])
            x0, y0, x1, y1 = np.clip(np.floor(nearby + 0.5).astype(int), 0, (width, height, width, height))
            offset = np.array([x0, y0])
            for closer in self._short(image[y0:y1, x0:x1]):
                closer.box, closer.points = closer.box + np.tile(offset, 2), closer.points + offset
                x, y = (closer.box[:2] + closer.box[2:]) / 2
                if left <= x <= right and top <= y <= bottom:
                    break
            else:
                break
            closer.presence, closer.landmarks = self._landmarker(image, closer)
            if closer.presence < PRESENCE_THRESHOLD:
                break
            face, seen = closer, max(x1 - x0, y1 - y0)
        return face

    def chips(self, image, face):
        """{"dlib": (matrix, chip), "faceres": (matrix, chip)}"""
        points = face.five_points
        dlib, faceres = umeyama(points, DLIB_TEMPLATE), umeyama(points, FACERES_TEMPLATE)
        return {
            "dlib": (dlib, imaging.warp(image, dlib, DLIB_SIDE)),
            "faceres": (faceres, imaging.warp(image, faceres, FACERES_SIDE)),
        }

    def embed(self, chips):
        """Raw embeddings {"dlib": [128], "dlib_mirrored": [128], "faceres": [1024]}, not normalised; `dlib_mirrored` is the
        mean of the unit embeddings of the chip and of the chip with left and right exchanged."""
        chip = chips["dlib"][1]
        dlib, mirrored = (self._dlib.run(normalise_dlib(c))["embedding"] for c in (chip, chip[:, ::-1]))
        return {
            "dlib": dlib,
            "dlib_mirrored": (dlib / np.linalg.norm(dlib) + mirrored / np.linalg.norm(mirrored)) / 2,
            "faceres": self._faceres.run(normalise_faceres(chips["faceres"][1]))["embedding"],
        }


def normalise_detector(square):
    return (square.astype(np.float32) - 127.5) / 127.5


def normalise_landmark(crop):
    return crop.astype(np.float32) / 255


def normalise_dlib(chip):
    return chip.astype(np.float32)


def normalise_faceres(chip):
    return chip[:, :, ::-1].astype(np.float32) - FACERES_MEAN_BGR


def anchors(grids):
    """Anchor centres in 0..1, [count, 2] as (x, y): for each grid by row, column, then the anchors of a cell."""
    centres = []
    for side, per_cell in grids:
        rows, columns = np.mgrid[0:side, 0:side]
        cells = np.stack([(columns + 0.5) / side, (rows + 0.5) / side], -1).reshape(-1, 2)
        centres.append(np.repeat(cells, per_cell, axis=0))
    return np.concatenate(centres)


def weighted_nms(corners, scores, points):
    """Each winner becomes the score-weighted mean of itself and what overlaps it by more than NMS_IOU; its own score stays."""
    order = np.argsort(-scores, kind="stable")
    faces = []
    while len(order):
        winner = order[0]
        overlap = iou(corners[winner], corners[order])
        group = order[(overlap > NMS_IOU) | (order == winner)]
        weights = scores[group] / scores[group].sum()
        faces.append((np.tensordot(weights, corners[group], 1), scores[winner], np.tensordot(weights, points[group], 1)))
        order = order[~np.isin(order, group)]
    return faces


def iou(box, boxes):
    low, high = np.maximum(box[0], boxes[:, 0]), np.minimum(box[1], boxes[:, 1])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 1] - boxes[:, 0], axis=1)
    return shared / (np.prod(box[1] - box[0]) + areas - shared + 1e-9)


def roi_matrix(detection):
    """Source -> landmark crop: a square of ROI_SCALE times the longer side about the box centre, turned to level the eyes."""
    left, top, right, bottom = detection.box
    across, down = detection.points[1] - detection.points[0]
    angle = -np.arctan2(down, across)
    zoom = LANDMARK_SIDE / (ROI_SCALE * max(right - left, bottom - top))
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.column_stack([linear, LANDMARK_SIDE / 2 - linear @ centre])


def umeyama(source, target):
    """The least-squares similarity (no reflection) from source to target points, 2 x 3 (Umeyama 1991).

    In the plane it has a closed form: with centred points, scale * (cos, sin) = sum(dot, cross) / sum(|source|^2).
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    cosine = (a * b).sum() / (a * a).sum()
    sine = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / (a * a).sum()
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def fused(dlib_mirrored, faceres):
    """The raw score of the ACCURATE mode from the two cosines; FAST is the cosine of plain dlib."""
    return FUSION_DLIB * dlib_mirrored + FUSION_FACERES * faceres


def sigmoid(logit):
    return 1 / (1 + np.exp(-np.clip(logit, -80, 80)))
