"""Train one network on the simulated chips. Seeded: the same folder and seed give the same weights on the same machine."""

import copy
import csv
import math

import numpy as np
import torch
from torch import nn

from network import Liveness, spectrum_of
from simulate import CLASSES

# Epochs of each cycle of the learning rate; a cycle starts from the averaged weights of the one before. From the second on the
# chips' tone is drawn anew: simulated recaptures are duller than portraits from the web, and real ones are not.
CYCLES = (5, 4)
# The range of brightness, and the colourfulness, that such a chip is given: 0..255, and the logarithm's mean and deviation.
DARKEST, BRIGHTEST = (0, 60), (150, 255)
COLOURFULNESS = (2.5, 0.5)
BATCH = 64
RATE = 2.5e-3
SMOOTHING = 0.05
# Weight of guessing the spectrum, beside telling the classes.
SPECTRUM_WEIGHT = 0.25
# Averaging of the weights over steps.
DECAY = 0.995


def train(folder, name, seed, cycles=CYCLES, without=(), after_epoch=None):
    """The network called `name` ("wide" or "tight"), trained on all sources but `without`. Returns it in evaluation mode.

    `after_epoch(cycle, epoch, network)` is called with the averaged network as it stands.
    """
    torch.manual_seed(seed)
    chips = np.load(folder / "chips" / f"{name}.npy", mmap_mode="r")
    with open(folder / "samples.csv", newline="") as opened:
        samples = [row for row in csv.DictReader(opened) if row["source"] not in without]
    numbers = np.array([int(row["number"]) for row in samples])
    labels = np.array([CLASSES.index(row["class"]) for row in samples])
    network = Liveness()
    for cycle, epochs in enumerate(cycles):
        network = _cycle(network, chips, numbers, labels, (seed, cycle), epochs, after_epoch)
    return network


def _cycle(network, chips, numbers, labels, seed, epochs, after_epoch):
    cycle = seed[1]
    if cycle:  # the first goes on from the state that made the weights
        torch.manual_seed(seed[0] + 1000 * cycle)
    random = np.random.default_rng(seed if cycle else seed[0])
    network = network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network).eval()
    steps = len(numbers) // BATCH * epochs
    rate = RATE / (1 + cycle)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    classes, spectra = nn.CrossEntropyLoss(label_smoothing=SMOOTHING), nn.MSELoss()
    step = 0
    for epoch in range(epochs):
        order = random.permutation(len(numbers))
        losses = []
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            # RGB to BGR on the way
            batch = torch.from_numpy(np.stack([chips[n] for n in numbers[chosen]])[..., ::-1].copy()).permute(0, 3, 1, 2).float()
            batch = augmented(levelled(batch, random) if cycle else batch, random)
            logits, guessed = network(batch.contiguous(memory_format=torch.channels_last))
            loss = classes(logits, torch.from_numpy(labels[chosen]))
            losses.append(loss.item())
            loss = loss + SPECTRUM_WEIGHT * spectra(guessed, spectrum_of(batch))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            step += 1
            _average(averaged, network, min(DECAY, step / (step + 20)))
        print(f"seed {seed} epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}", flush=True)
        if after_epoch:
            after_epoch(cycle, epoch, averaged)
    return averaged


def levelled(batch, random, share=0.85):
    """Most chips with contrast, brightness, colourfulness and white balance at random, whatever they were. [N, 3, S, S] 0..255."""
    count = len(batch)
    drawn = lambda low, high: torch.from_numpy(random.uniform(low, high, (count, 1, 1, 1))).float()  # noqa: E731
    grey = batch.mean(1, keepdim=True)
    values = nn.functional.avg_pool2d(grey, 4).flatten(1)
    dark, bright = (torch.quantile(values, q, dim=1)[:, None, None, None] for q in (0.03, 0.97))
    darkest, brightest = drawn(*DARKEST), drawn(*BRIGHTEST)
    gain = ((brightest - darkest) / (bright - dark).clamp(min=25)).clamp(0.3, 3)
    colour = batch - grey
    wanted = torch.from_numpy(np.exp(random.normal(*COLOURFULNESS, (count, 1, 1, 1)))).float()
    ratio = (wanted / colour.abs().mean((1, 2, 3), keepdim=True).clamp(min=2)).clamp(0.3, 3)
    balance = torch.from_numpy(np.exp(random.normal(0, 0.06, (count, 3, 1, 1)))).float()
    changed = (((grey - dark) * gain + darkest + colour * ratio) * balance).clamp(0, 255)
    return torch.where(torch.from_numpy(random.random(count) < share)[:, None, None, None], changed, batch)


def augmented(batch, random):
    """Mirrored, moved by a few pixels, tinted, partly hidden. [N, 3, S, S] 0..255."""
    count, _, side, _ = batch.shape
    mirrored = torch.from_numpy(random.random(count) < 0.5)
    batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
    padded = nn.functional.pad(batch, (6, 6, 6, 6), mode="replicate")
    moved = torch.empty_like(batch)
    for index, (y, x) in enumerate(random.integers(0, 13, (count, 2))):
        moved[index] = padded[index, :, y : y + side, x : x + side]
    gain = torch.from_numpy(np.exp(random.normal(0, 0.05, (count, 3, 1, 1)) + random.normal(0, 0.12, (count, 1, 1, 1)))).float()
    batch = (moved * gain).clamp(0, 255)
    for index in np.flatnonzero(random.random(count) < 0.35):
        height, width = (int(side * v) for v in random.uniform(0.1, 0.45, 2))
        y, x = random.integers(0, side - height), random.integers(0, side - width)
        batch[index, :, y : y + height, x : x + width] = torch.from_numpy(random.uniform(0, 255, (3, 1, 1))).float()
    return batch


@torch.no_grad()
def _average(averaged, network, decay):
    for kept, now in zip(averaged.state_dict().values(), network.state_dict().values()):
        if kept.dtype.is_floating_point:
            kept.lerp_(now, 1 - decay)
        else:
            kept.copy_(now)


def parameters(network):
    return sum(math.prod(p.shape) for name, p in network.named_parameters() if not name.startswith("spectrum"))
