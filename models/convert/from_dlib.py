"""dlib_face_recognition_resnet_model_v1.dat -> ONNX.

The file is dlib's serialisation of the network in `dlib_forward.cpp`, parameters in forward order. Each parameter tensor is
written as packed integers (version 2, then four dimensions) and raw little-endian f32. The architecture is known, so each
tensor's header is known exactly: we look for that byte string, in order, and refuse a file that has fewer or more of them.
"""

import numpy as np

from graph import Graph

MEAN = (122.782, 117.001, 104.298)  # dlib's input_rgb_image, RGB
SCALE = 256.0
CHIP = 150
EMBEDDING = 128
LEVELS = (  # channels, residual blocks, whether the first block halves the picture
    (32, 3, False),
    (64, 4, True),
    (128, 3, True),
    (256, 3, True),
    (256, 1, True),
)


def convert(source, target):
    """Read the .dat file `source` (path), write the ONNX `target`. Input: RGB 0..255, [N,3,150,150]; output: [N,128]."""
    parameters = Parameters(source.read_bytes())
    net = Network(parameters)
    net.stem()
    for channels, blocks, halves in LEVELS:
        for i in range(blocks):
            net.residual(channels, down=halves and i == 0)
    net.head()
    parameters.expect_end()
    net.graph.write(
        target,
        [("input", ["N", 3, CHIP, CHIP])],
        [("embedding", ["N", EMBEDDING])],
        "dlib_face_recognition_resnet_model_v1 (Davis King, CC0). RGB 0..255; mean and scale are inside the graph.",
    )


class Parameters:
    """The parameter tensors of a dlib file, read front to back."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def take(self, *dims):
        """The next tensor of exactly these dimensions (padded to four with ones)."""
        header = b"".join(_packed(v) for v in (2, *dims, *[1] * (4 - len(dims))))
        at = self._data.find(header, self._at)
        if at < 0:
            raise ValueError(f"no tensor {dims} after byte {self._at}")
        count = int(np.prod(dims))
        start = at + len(header)
        values = np.frombuffer(self._data, "<f4", count, start)
        if not np.isfinite(values).all():
            raise ValueError(f"tensor {dims} at byte {at} is not finite")
        self._at = start + 4 * count
        return values

    def expect_end(self):
        """What is left after the last tensor is a few bytes of settings; another tensor would be kilobytes."""
        left = len(self._data) - self._at
        if left > 256:
            raise ValueError(f"{left} bytes left after the last tensor")


class Network:
    """The network under construction: current value, its channels and its side in pixels."""

    def __init__(self, parameters):
        self.graph = Graph()
        self.parameters = parameters
        self.value = "input"
        self.channels = 3
        self.size = CHIP

    def stem(self):
        add = self.graph.add
        mean = np.array(MEAN, np.float32).reshape(1, 3, 1, 1)
        self.value = add("Div", add("Sub", self.value, mean), np.float32(SCALE))
        self.value = add("Relu", self._conv(self.value, 3, 32, kernel=7, stride=2, pad=0))
        self.value = add("MaxPool", self.value, kernel_shape=[3, 3], strides=[2, 2])
        self.channels, self.size = 32, 35

    def residual(self, channels, down):
        """Two 3x3 convolutions beside a short cut. Where their shapes differ dlib's add_prev fills with zeros."""
        add = self.graph.add
        stride, pad = (2, 0) if down else (1, 1)
        main = add("Relu", self._conv(self.value, self.channels, channels, kernel=3, stride=stride, pad=pad))
        main = self._conv(main, channels, channels, kernel=3, stride=1, pad=1)
        short = self.value
        if down:
            short = add("AveragePool", short, kernel_shape=[2, 2], strides=[2, 2])
            main_size, short_size = (self.size - 3) // 2 + 1, (self.size - 2) // 2 + 1
            size = max(main_size, short_size)
            main = self._zero_fill(main, 0, size - main_size)
            short = self._zero_fill(short, channels - self.channels, size - short_size)
            self.size = size
        self.channels = channels
        self.value = add("Relu", add("Add", main, short))

    def head(self):
        weights = self.parameters.take(256, EMBEDDING).reshape(256, EMBEDDING)
        pooled = self.graph.add("Flatten", self.graph.add("GlobalAveragePool", self.value))
        self.graph.add("MatMul", pooled, weights, output="embedding")

    def _conv(self, value, inputs, outputs, kernel, stride, pad):
        """A convolution and the affine layer (frozen batch normalisation) after it, folded into one Conv."""
        count = outputs * inputs * kernel * kernel
        flat = self.parameters.take(count + outputs)
        weights, bias = flat[:count].reshape(outputs, inputs, kernel, kernel), flat[count:]
        affine = self.parameters.take(2 * outputs)
        gamma, beta = affine[:outputs], affine[outputs:]
        weights, bias = weights * gamma[:, None, None, None], bias * gamma + beta
        return self.graph.add("Conv", value, weights, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def _zero_fill(self, value, channels, pixels):
        if channels == 0 and pixels == 0:
            return value
        return self.graph.add("Pad", value, np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64))


def _packed(value):
    """dlib's integer: a byte with the number of bytes that follow, then those, little-endian."""
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")
