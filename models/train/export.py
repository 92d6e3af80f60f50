"""A trained network as ONNX: `input` f32 [N, 3, 128, 128], BGR 0..255; `output` logits [N, 3]: print, live, screen."""

import warnings

import torch

from simulate import SIDE

OPSET = 17


def export(network, path, temperature=1.0, bias=0.0):
    """Write it, its logits divided by `temperature`, the one of `live` raised by `bias` before that."""
    calibrated = Calibrated(network, temperature, bias).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            calibrated, torch.zeros(1, 3, SIDE, SIDE), str(path), opset_version=OPSET, dynamo=False,
            input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
        )


class Calibrated(torch.nn.Module):
    def __init__(self, network, temperature, bias):
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.register_buffer("bias", torch.tensor([0.0, bias, 0.0]))

    def forward(self, chips):
        return (self.network(chips) + self.bias) / self.temperature
