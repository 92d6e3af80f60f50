"""The network: depthwise bottlenecks in the manner of MiniFASNet and MobileFaceNet, with a head that guesses the chip's Fourier
spectrum while training (Silent-Face-Anti-Spoofing's idea: it makes the trunk keep the fine structure).
"""

import torch
from torch import nn

# (output channels, stride, expansion, repeats)
STAGES = ((64, 1, 2, 2), (96, 2, 3, 3), (128, 2, 3, 3))
STEM = (24, 48)
# The stage whose features the auxiliary head sees, and the side of the spectrum that it guesses.
SEEN, SPECTRUM = 1, 16


class Liveness(nn.Module):
    """[N, 3, S, S] BGR 0..255 -> logits [N, 3]: print, live, screen; while training also the spectrum [N, 16, 16]."""

    def __init__(self, stem=STEM, stages=STAGES, dropout=0.3):
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, stem[0], 5, 2), _convolution(stem[0], stem[1], 3, 2))
        self.stages, channels = nn.ModuleList(), stem[1]
        for output, stride, expansion, repeats in stages:
            blocks = []
            for repeat in range(repeats):
                blocks.append(Bottleneck(channels, output, stride if repeat == 0 else 1, expansion))
                channels = output
            self.stages.append(nn.Sequential(*blocks))
        self.spectrum = nn.Sequential(_convolution(stages[SEEN][0], 32, 3, 1), nn.Conv2d(32, 1, 1))
        self.last = _convolution(channels, 192, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(192, 3)

    def forward(self, chips):
        features = self.stem(chips / 127.5 - 1)
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if self.training and number == SEEN:
                guessed = nn.functional.adaptive_avg_pool2d(self.spectrum(features), SPECTRUM).squeeze(1)
        logits = self.classes(self.dropout(self.last(features).mean((2, 3))))
        return (logits, guessed) if self.training else logits


class Bottleneck(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; added to what came in where the shapes allow."""

    def __init__(self, channels, output, stride, expansion):
        super().__init__()
        hidden = channels * expansion
        self.widen = _convolution(channels, hidden, 1, 1)
        self.filter = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.weigh = nn.Sequential(nn.Conv2d(hidden, hidden // 8, 1), nn.ReLU(), nn.Conv2d(hidden // 8, hidden, 1), nn.Hardsigmoid())
        self.narrow = nn.Sequential(nn.Conv2d(hidden, output, 1, bias=False), nn.BatchNorm2d(output))
        self.skips = stride == 1 and channels == output

    def forward(self, features):
        hidden = self.filter(self.widen(features))
        result = self.narrow(hidden * self.weigh(hidden.mean((2, 3), keepdim=True)))
        return features + result if self.skips else result


def spectrum_of(chips):
    """[N, 3, S, S] 0..255 -> [N, 16, 16]: the logarithm of the magnitudes, zero frequency in the middle, mean 0, deviation 1."""
    grey = chips.mean(1) / 255
    magnitude = torch.log1p(torch.fft.fftshift(torch.fft.fft2(grey), dim=(1, 2)).abs())
    small = nn.functional.adaptive_avg_pool2d(magnitude[:, None], SPECTRUM)[:, 0]
    mean, deviation = small.mean((1, 2), keepdim=True), small.std((1, 2), keepdim=True)
    return (small - mean) / (deviation + 1e-5)


def _convolution(channels, output, side, stride, groups=1):
    layer = nn.Conv2d(channels, output, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(output), nn.ReLU(inplace=True))
