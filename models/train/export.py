"""A trained network as ONNX: `input` f32 [N, 3, 128, 128], BGR 0..255; `output` logits [N, 3]: print, live, screen."""

import copy
import warnings

import torch

from simulate import CLASSES, SIDE

OPSET = 17


def export(network, path, bias=0.0):
    """Write it. `bias` is added to the logit of `live`, so that 0.5 is the operating point."""
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        network.classes.bias[CLASSES.index("live")] += bias
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, torch.zeros(1, 3, SIDE, SIDE), str(path), opset_version=OPSET, dynamo=False,
            input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
        )

