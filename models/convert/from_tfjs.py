"""TFJS graph model -> ONNX, for the chain of convolutions of `faceres` (a MobileNet v1).

We follow the chain back from the pooled features to the input, so the gender and age heads behind them never enter our file.
The batch normalisation (a multiplication, an addition) is folded into each convolution; min(max(x, 0), 6) becomes one Clip.
"""

import json

import numpy as np

from graph import Graph, same_padding

FEATURES = "global_pooling/Mean"
INPUT_SIDE = 224
EMBEDDING = 1024


def convert(topology, weights, target):
    """Convert the model `topology` (.json) with its `weights` (.bin). Input [N,3,224,224], output [N,1024]."""
    description = json.loads(topology.read_text())
    constants = _constants(description["weightsManifest"], weights.read_bytes())
    chain = _chain(description["modelTopology"]["node"], constants, FEATURES)
    graph = Graph()
    value, side = "input", INPUT_SIDE
    steps = iter(_folded(chain, constants))
    for step, *arguments in steps:
        if step == "conv":
            filters, bias, stride, depthwise = arguments
            before, after = same_padding(side, filters.shape[2], stride)
            value = graph.add(
                "Conv",
                value,
                filters,
                bias,
                kernel_shape=list(filters.shape[2:]),
                strides=[stride, stride],
                group=filters.shape[0] if depthwise else 1,
                pads=[before, before, after, after],
            )
            side = -(-side // stride)
        elif step == "clip":
            value = graph.add("Clip", value, np.float32(0), np.float32(6))
        else:
            graph.add("Flatten", graph.add("GlobalAveragePool", value), output="embedding")
    graph.write(
        target,
        [("input", ["N", 3, INPUT_SIDE, INPUT_SIDE])],
        [("embedding", ["N", EMBEDDING])],
        "faceres of @vladmandic/human 3.3.6 (MIT; from HSE-asavchenko/HSE_FaceRec_tf, Apache-2.0), embedding only. "
        "BGR minus (103.939, 116.779, 123.68).",
    )


def _constants(manifest, data):
    """{name: f32 array} of the weights file, which stores the tensors of the manifest one after the other."""
    dtypes = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}
    constants, at = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantization = entry.get("quantization", {})
        if "scale" in quantization:
            raise ValueError(f"{entry['name']}: integer weights are not known")
        dtype = np.dtype(dtypes[quantization.get("dtype", entry["dtype"])])
        count = int(np.prod(entry["shape"]))
        array = np.frombuffer(data, dtype, count, at).reshape(entry["shape"])
        constants[entry["name"]] = array.astype(np.float32) if entry["dtype"] == "float32" else array
        at += count * dtype.itemsize
    if at != len(data):
        raise ValueError(f"the manifest describes {at} bytes, the file has {len(data)}")
    return constants


def _chain(nodes, constants, last):
    """The nodes from the input to `last`, each having exactly one input that is not a constant."""
    by_name = {node["name"]: node for node in nodes}
    chain = []
    node = by_name[last]
    while node["op"] != "Placeholder":
        chain.append(node)
        (source,) = [name for name in node["input"] if name not in constants]
        node = by_name[source]
    return chain[::-1]


def _folded(chain, constants):
    """("conv", filters OIHW, bias, stride, depthwise), ("clip",) and ("pool",) of the chain, in order."""
    conv = None
    for node in chain:
        op = node["op"]
        operand = next((constants[name] for name in node["input"] if name in constants), None)
        if op in ("Conv2D", "DepthwiseConv2dNative"):
            stride = _stride(node)
            depthwise = op != "Conv2D"
            # TensorFlow: height, width, in, out; for depthwise: height, width, channel, multiplier (1)
            filters = operand.transpose(2, 3, 0, 1) if depthwise else operand.transpose(3, 2, 0, 1)
            conv = [filters, np.zeros(filters.shape[0], np.float32), stride, depthwise]
        elif op == "Mul":
            scale = operand.reshape(-1)
            conv[0], conv[1] = conv[0] * scale[:, None, None, None], conv[1] * scale
        elif op == "Add":
            conv[1] = conv[1] + operand.reshape(-1)
        elif op == "Relu":
            yield ("conv", *conv)
        elif op == "Minimum" and operand == 6:
            yield ("clip",)
        elif op == "Maximum" and operand == 0:
            pass  # the Relu and the Clip have seen to it
        elif op == "Mean":
            yield ("pool",)
        else:
            raise ValueError(f"{op} at {node['name']} is not known")


def _stride(node):
    """The one stride of a SAME, undilated convolution."""
    attributes = node["attr"]
    if attributes["padding"]["s"] != "U0FNRQ==":  # Base64 of "SAME"
        raise ValueError(f"{node['name']}: only SAME padding is known")
    _, down, across, _ = (int(v) for v in attributes["strides"]["list"]["i"])
    if down != across or {int(v) for v in attributes.get("dilations", {}).get("list", {}).get("i", [1])} != {1}:
        raise ValueError(f"{node['name']}: only square strides without dilation are known")
    return down
