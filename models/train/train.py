"""Train one network on the simulated chips, on a GPU where there is one. Seeded: the same folder and seed give the same weights
on the same machine, but for what the order of a GPU's sums leaves.
"""

import copy
import csv

import numpy as np
import torch
from torch import nn

import augment
from evaluate import auc
from network import Liveness, spectrum_of
from simulate import CLASSES, HELD_OUT

EPOCHS = 22
BATCH = 256
RATE = 3e-3
WEIGHT_DECAY = 0.05
SMOOTHING = 0.05
# Weight of guessing the spectrum, beside telling the classes.
SPECTRUM_WEIGHT = 0.25
# Averaging of the weights over steps.
DECAY = 0.998


def train(folder, name, seed, epochs=EPOCHS):
    """The network called `name` ("wide" or "tight"), trained on all sources but those held out. Returns it in evaluation mode."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random = torch.Generator(device).manual_seed(seed)
    with open(folder / "samples.csv", newline="") as opened:
        samples = list(csv.DictReader(opened))
    labels = torch.tensor([CLASSES.index(row["class"]) for row in samples], device=device)
    held = torch.tensor([row["source"] in HELD_OUT for row in samples], device=device)
    chips = torch.from_numpy(np.load(folder / "chips" / f"{name}.npy")).to(device)
    numbers = torch.arange(len(samples), device=device)[~held]
    network = Liveness().to(device, memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network).eval()
    steps = len(numbers) // BATCH * epochs
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY, fused=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    classes, step = nn.CrossEntropyLoss(label_smoothing=SMOOTHING), 0
    for epoch in range(epochs):
        losses = torch.zeros((), device=device)
        order = numbers[torch.randperm(len(numbers), generator=random, device=device)]
        for chosen in order.split(BATCH)[: steps // epochs]:
            batch = augment.augmented(planes(chips[chosen]), random)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits, guessed = network(batch.contiguous(memory_format=torch.channels_last))
            loss = classes(logits.float(), labels[chosen])
            losses += loss.detach()
            loss = loss + SPECTRUM_WEIGHT * nn.functional.mse_loss(guessed.float(), spectrum_of(batch))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            step += 1
            _average(averaged, network, min(DECAY, step / (step + 20)))
        scores = predicted(averaged, chips[held])
        figures = ", ".join(f"{kind} {held_auc(scores, labels[held], kind):.4f}" for kind in ("print", "screen"))
        print(f"{name} {seed} epoch {epoch + 1}/{epochs}: loss {losses.item() * epochs / steps:.4f}; held out, AUC {figures}", flush=True)
    return averaged.cpu()


def planes(chips):
    """RGB uint8 [N, S, S, 3] -> BGR [N, 3, S, S] 0..255."""
    return chips.flip(3).permute(0, 3, 1, 2).float()


@torch.no_grad()
def predicted(network, chips, batch=1024):
    """Probabilities of `live` [N]."""
    live = CLASSES.index("live")
    return torch.cat([network(planes(part)).softmax(1)[:, live] for part in chips.split(batch)])


def held_auc(scores, labels, kind):
    scores, labels = scores.cpu().numpy(), labels.cpu().numpy()
    return auc(scores[labels == CLASSES.index("live")], scores[labels == CLASSES.index(kind)])


@torch.no_grad()
def _average(averaged, network, decay):
    pairs = list(zip(averaged.state_dict().values(), network.state_dict().values()))
    floating = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    torch._foreach_lerp_([kept for kept, _ in floating], [now for _, now in floating], 1 - decay)
    for kept, now in pairs:
        if not kept.dtype.is_floating_point:
            kept.copy_(now)
