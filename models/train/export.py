"""A trained network as ONNX: `input` f32 [N, 3, 128, 128], BGR 0..255; `output` logits [N, 3]: print, live, screen."""

import warnings

import torch

from simulate import SIDE

OPSET = 17


def export(network, path):
    network = network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, torch.zeros(1, 3, SIDE, SIDE), str(path), opset_version=OPSET, dynamo=False,
            input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
        )

