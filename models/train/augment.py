"""What is done to the chips anew each time they are trained on, to all classes alike. Chips are [N, 3, S, S], 0..255."""

import torch
from torch import nn

# The share of chips whose tone is drawn anew: simulated recaptures are duller than portraits from the web, and real ones are not.
TONE = 0.5
# The range of brightness, and the colourfulness, that such a chip is given: 0..255, and the logarithm's mean and deviation.
DARKEST, BRIGHTEST = (0.0, 60.0), (150.0, 255.0)
COLOURFULNESS = (2.5, 0.5)
# The furthest that a chip is moved, in pixels.
MOST_MOVED = 6
# Shares of chips that are blurred, made noisy, made grey, partly hidden.
BLURRED, NOISY, GREY, HIDDEN = 0.15, 0.2, 0.05, 0.35


def augmented(batch, random):
    batch = _share(levelled(batch, random), batch, TONE, random)
    batch = _moved(_share(batch.flip(3), batch, 0.5, random), random)
    gain = torch.exp(_normal(batch, random, 3) * 0.05 + _normal(batch, random) * 0.12)
    batch = batch * gain
    batch = _share(_blurred(batch, random), batch, BLURRED, random)
    noise = torch.randn(batch.shape, generator=random, device=batch.device) * _uniform(batch, random, 1.0, 10.0)
    batch = _share(batch + noise, batch, NOISY, random)
    batch = _share(batch.mean(1, keepdim=True).expand_as(batch), batch, GREY, random)
    return _share(_hidden(batch, random), batch, HIDDEN, random).clamp(0, 255)


def levelled(batch, random):
    """With contrast, brightness, colourfulness and white balance at random, whatever they were."""
    grey = batch.mean(1, keepdim=True)
    values = nn.functional.avg_pool2d(grey, 4).flatten(1)
    dark, bright = torch.quantile(values, torch.tensor([0.03, 0.97], device=batch.device), dim=1)[:, :, None, None, None]
    darkest, brightest = _uniform(batch, random, *DARKEST), _uniform(batch, random, *BRIGHTEST)
    gain = ((brightest - darkest) / (bright - dark).clamp(min=25)).clamp(0.3, 3)
    colour = batch - grey
    wanted = torch.exp(COLOURFULNESS[0] + COLOURFULNESS[1] * _normal(batch, random))
    ratio = (wanted / colour.abs().mean((1, 2, 3), keepdim=True).clamp(min=2)).clamp(0.3, 3)
    balance = torch.exp(0.06 * _normal(batch, random, 3))
    return (((grey - dark) * gain + darkest + colour * ratio) * balance).clamp(0, 255)


def _moved(batch, random):
    """By whole pixels, so that nothing is blurred; the edge repeats."""
    count, _, side, _ = batch.shape
    shifts = torch.randint(-MOST_MOVED, MOST_MOVED + 1, (2, count, 1), generator=random, device=batch.device)
    rows, columns = (torch.arange(side, device=batch.device) + shifts).clamp(0, side - 1)
    chip = torch.arange(count, device=batch.device)[:, None, None]
    return batch.permute(0, 2, 3, 1)[chip, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _blurred(batch, random):
    """By one Gaussian, drawn for the whole batch."""
    sigma = 0.4 + 1.2 * torch.rand((), generator=random, device=batch.device)
    kernel = torch.exp(-torch.arange(-3, 4, device=batch.device) ** 2 / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 7)
    rows = nn.functional.conv2d(nn.functional.pad(batch, (3, 3, 3, 3), mode="replicate"), kernel, groups=3)
    return nn.functional.conv2d(rows, kernel.transpose(2, 3), groups=3)


def _hidden(batch, random):
    """Behind a plain rectangle."""
    side = batch.shape[-1]
    inside = torch.ones((), dtype=torch.bool, device=batch.device)
    for axis in (2, 3):
        length = _uniform(batch, random, 0.1, 0.45) * side
        start = _uniform(batch, random, 0.0, 1.0) * (side - length)
        shape = [side if n == axis else 1 for n in range(4)]
        place = torch.arange(side, device=batch.device).view(shape)
        inside = inside & (place >= start) & (place < start + length)
    return torch.where(inside, _uniform(batch, random, 0.0, 255.0, 3), batch)


def _share(changed, batch, share, random):
    """`changed` in place of this share of the chips."""
    return torch.where(_uniform(batch, random, 0.0, 1.0) < share, changed, batch)


def _uniform(batch, random, low, high, channels=1):
    drawn = torch.rand((len(batch), channels, 1, 1), generator=random, device=batch.device)
    return low + (high - low) * drawn


def _normal(batch, random, channels=1):
    return torch.randn((len(batch), channels, 1, 1), generator=random, device=batch.device)
