"""TFLite (float, half-float or sparse weights) -> ONNX. Activations are NCHW inside and at the input; the named outputs
keep TFLite's order of values (anchors by row, column, anchor).

Only the operators of the three MediaPipe models are known; anything else is refused.
"""

import numpy as np
import tflite

from graph import Graph, same_padding

DTYPES = {0: "<f4", 1: "<f2", 2: "<i4"}
NCHW_OF_NHWC = (0, 3, 1, 2)
NHWC_OF_NCHW = (0, 2, 3, 1)


def convert(source, target, outputs, doc):
    """Convert the .tflite file `source`.

    outputs: {TFLite output name: (ONNX name, shape without the batch dimension)}.
    """
    reader = Reader(source.read_bytes())
    converter = Converter(reader)
    for operator in reader.operators():
        converter.translate(*operator)
    converter.finish(target, outputs, doc)


class Reader:
    """The flatbuffer, as plain Python: shapes, constants, operators with their options."""

    def __init__(self, data):
        self._model = tflite.Model.GetRootAsModel(data, 0)
        self._graph = self._model.Subgraphs(0)
        self._op_names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}

    def inputs(self):
        return [int(i) for i in self._graph.InputsAsNumpy()]

    def outputs(self):
        return [int(i) for i in self._graph.OutputsAsNumpy()]

    def name(self, index):
        return self._graph.Tensors(index).Name().decode()

    def shape(self, index):
        return [int(v) for v in self._graph.Tensors(index).ShapeAsNumpy()]

    def constant(self, index):
        """The tensor's stored values, or None for an activation. Sparse tensors come back dense."""
        tensor = self._graph.Tensors(index)
        buffer = self._model.Buffers(tensor.Buffer())
        if buffer is None or buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
        if tensor.Sparsity() is not None:
            return _dense(tensor, values)
        return values.reshape(self.shape(index))

    def operators(self):
        """(name, inputs, output, options of that kind) of each operator in order of execution."""
        for i in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(i)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            # old files keep the code in the deprecated field, new ones in the other; the unused one is 0
            name = self._op_names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            inputs = [int(v) for v in operator.InputsAsNumpy()]
            yield name, inputs, int(operator.OutputsAsNumpy()[0]), operator.BuiltinOptions()


class Converter:
    def __init__(self, reader):
        self.reader = reader
        self.graph = Graph()
        self.values = {index: "input" for index in reader.inputs()}  # TFLite tensor -> ONNX value, NCHW where 4-d
        self.constants = {}  # TFLite tensor -> array, in TFLite's layout

    def translate(self, name, inputs, output, options):
        if name in ("DEQUANTIZE", "DENSIFY"):  # both act on stored weights only
            array = self._constant(inputs[0])
            self.constants[output] = array.astype(np.float32) if name == "DEQUANTIZE" else array
            return
        handler = getattr(self, "_" + name.lower(), None)
        if handler is None:
            raise ValueError(f"operator {name} is not known")
        self.values[output] = handler(inputs, output, options)

    def finish(self, target, outputs, doc):
        declared = []
        for index in self.reader.outputs():
            name, shape = outputs[self.reader.name(index)]
            value = self._nhwc(index) if len(self.reader.shape(index)) == 4 else self.values[index]
            self.graph.add("Reshape", value, np.array([-1, *shape], np.int64), output=name)
            declared.append((name, ["N", *shape]))
        (source,) = self.reader.inputs()
        _, height, width, channels = self.reader.shape(source)
        self.graph.write(target, [("input", ["N", channels, height, width])], declared, doc)

    def _conv_2d(self, inputs, output, options):
        o = _read(options, tflite.Conv2DOptions)
        weights = self._constant(inputs[1]).transpose(0, 3, 1, 2)
        return self._convolution(inputs, weights, 1, o)

    def _depthwise_conv_2d(self, inputs, output, options):
        o = _read(options, tflite.DepthwiseConv2DOptions)
        weights = self._constant(inputs[1]).transpose(3, 0, 1, 2)
        return self._convolution(inputs, weights, self.reader.shape(inputs[0])[3], o)

    def _convolution(self, inputs, weights, groups, o):
        _, height, width, _ = self.reader.shape(inputs[0])
        kernel = weights.shape[2:]
        strides = [o.StrideH(), o.StrideW()]
        dilations = [o.DilationHFactor(), o.DilationWFactor()]
        value = self.graph.add(
            "Conv",
            self.values[inputs[0]],
            weights,
            self._constant(inputs[2]),
            kernel_shape=list(kernel),
            strides=strides,
            dilations=dilations,
            group=groups,
            pads=_pads(o.Padding(), (height, width), kernel, strides, dilations),
        )
        return self._activated(value, o.FusedActivationFunction())

    def _max_pool_2d(self, inputs, output, options):
        o = _read(options, tflite.Pool2DOptions)
        _, height, width, _ = self.reader.shape(inputs[0])
        kernel, strides = [o.FilterHeight(), o.FilterWidth()], [o.StrideH(), o.StrideW()]
        pads = _pads(o.Padding(), (height, width), kernel, strides, (1, 1))
        value = self.graph.add("MaxPool", self.values[inputs[0]], kernel_shape=kernel, strides=strides, pads=pads)
        return self._activated(value, o.FusedActivationFunction())

    def _add(self, inputs, output, options):
        value = self.graph.add("Add", *(self.values[i] for i in inputs))
        return self._activated(value, _read(options, tflite.AddOptions).FusedActivationFunction())

    def _relu(self, inputs, output, options):
        return self.graph.add("Relu", self.values[inputs[0]])

    def _prelu(self, inputs, output, options):
        slope = self._constant(inputs[1]).reshape(-1, 1, 1)
        return self.graph.add("PRelu", self.values[inputs[0]], slope)

    def _pad(self, inputs, output, options):
        pads = self._constant(inputs[1])[list(NCHW_OF_NHWC)]
        return self.graph.add("Pad", self.values[inputs[0]], pads.T.reshape(-1).astype(np.int64))

    def _resize_bilinear(self, inputs, output, options):
        o = _read(options, tflite.ResizeBilinearOptions)
        _, height, width, _ = self.reader.shape(inputs[0])
        _, to_height, to_width, _ = self.reader.shape(output)
        if o.AlignCorners():
            mode = "align_corners"
        else:
            mode = "half_pixel" if o.HalfPixelCenters() else "asymmetric"
        scales = np.array([1, 1, to_height / height, to_width / width], np.float32)
        value = self.values[inputs[0]]
        return self.graph.add("Resize", value, "", scales, mode="linear", coordinate_transformation_mode=mode)

    def _depth_to_space(self, inputs, output, options):
        o = _read(options, tflite.DepthToSpaceOptions)
        return self.graph.add("DepthToSpace", self.values[inputs[0]], blocksize=o.BlockSize(), mode="DCR")

    def _reshape(self, inputs, output, options):
        shape = self.reader.shape(output)
        if len(shape) == 4:
            raise ValueError("a reshape to an activation is not known")
        return self.graph.add("Reshape", self._nhwc(inputs[0]), np.array([-1, *shape[1:]], np.int64))

    def _concatenation(self, inputs, output, options):
        axis = _read(options, tflite.ConcatenationOptions).Axis() % len(self.reader.shape(output))
        if len(self.reader.shape(output)) == 4:
            axis = NHWC_OF_NCHW.index(axis) if axis == 0 else NCHW_OF_NHWC.index(axis)
        return self.graph.add("Concat", *(self.values[i] for i in inputs), axis=axis)

    def _nhwc(self, index):
        """The value in TFLite's order of axes."""
        return self.graph.add("Transpose", self.values[index], perm=list(NHWC_OF_NCHW))

    def _activated(self, value, function):
        if function == tflite.ActivationFunctionType.NONE:
            return value
        if function == tflite.ActivationFunctionType.RELU:
            return self.graph.add("Relu", value)
        raise ValueError(f"activation {function} is not known")

    def _constant(self, index):
        if index in self.constants:
            return self.constants[index]
        array = self.reader.constant(index)
        if array is None:
            raise ValueError(f"{self.reader.name(index)} is not a constant")
        return array


def _read(options, kind):
    read = kind()
    read.Init(options.Bytes, options.Pos)
    return read


def _pads(padding, size, kernel, strides, dilations):
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    top, bottom = same_padding(size[0], kernel[0], strides[0], dilations[0])
    left, right = same_padding(size[1], kernel[1], strides[1], dilations[1])
    return [top, left, bottom, right]


def _dense(tensor, values):
    """TFLite's sparse format: the axes (and blocks of axes) in traversal order, each dense or a list of kept indices."""
    sparsity = tensor.Sparsity()
    shape = [int(v) for v in tensor.ShapeAsNumpy()]
    order = [int(v) for v in sparsity.TraversalOrderAsNumpy()]
    blocked = [int(v) for v in sparsity.BlockMapAsNumpy()] if sparsity.BlockMapLength() else []

    # walk the levels together: row r of `path` is the r-th stored position so far, `node` its number within the level
    node = np.zeros(1, np.int64)
    path = np.zeros((1, 0), np.int64)
    sizes = []
    for level in range(len(order)):
        meta = sparsity.DimMetadata(level)
        sizes.append(meta.DenseSize())
        if meta.Format() == tflite.DimensionType.DENSE:
            counts = np.full(len(node), meta.DenseSize())
            index = np.tile(np.arange(meta.DenseSize()), len(node))
            children = np.repeat(node * meta.DenseSize(), counts) + index
        else:
            segments = _vector(meta.ArraySegmentsType(), meta.ArraySegments()).astype(np.int64)
            kept = _vector(meta.ArrayIndicesType(), meta.ArrayIndices()).astype(np.int64)
            counts = segments[node + 1] - segments[node]
            children = np.concatenate([np.arange(segments[n], segments[n + 1]) for n in node])
            index = kept[children]
        path = np.concatenate([np.repeat(path, counts, axis=0), index[:, None]], axis=1)
        node = children
    if len(node) != len(values):
        raise ValueError(f"{len(values)} values stored for {len(node)} positions")

    block_size = {axis: sizes[order.index(len(shape) + i)] for i, axis in enumerate(blocked)}
    where = [np.zeros(len(node), np.int64) for _ in shape]
    for level, axis in enumerate(order):
        if axis < len(shape):
            where[axis] += path[:, level] * block_size.get(axis, 1)
        else:
            where[blocked[axis - len(shape)]] += path[:, level]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(where)] = values
    return dense


def _vector(kind, table):
    vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy()
