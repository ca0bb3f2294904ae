"""Slot attention: what it finds in drawn pictures over seeds, beside what learns nothing, and where its time goes. Prints benchmarks/slots.md.

    OMP_NUM_THREADS=1 python benchmarks/slots.py

One thread; CPU time of the process; of the times the best of several.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from pairs import best_ms

from firstsight.discovery.slot_attention import TINY, TINY_CONFIG, Config, SlotAttention
from firstsight.evaluation.object_masks import ids_of
from firstsight.gallery.object_pictures import ObjectPictures, clustered_ids
from firstsight.gallery.slot_iterations import as_images, measured
from firstsight.training.fit import Surroundings, fit

SEEDS, TRAINED, TESTED = 3, 1000, 200
NAMES = ("FG-ARI", "ARI", "mBO", "mIoU")
KINDS = {
    "plain shapes, 3": {"objects": (3, 3)},
    "striped shapes, 3": {"objects": (3, 3), "striped": True},
}
LOSSES = """## What falls short

"""


def cells(values: list[dict[str, float]]) -> str:
    return " | ".join(" ".join(f"{value[name]:.2f}" for value in values) for name in NAMES)


def print_found() -> None:
    size, slots = TINY_CONFIG.size[0], TINY_CONFIG.slots
    print(
        f"## Objects found\n\n`TINY`: {TINY.steps} steps of {TINY.batch} pictures, {size} x {size} px, {slots} slots; seeds 0, 1, 2."
    )
    print(
        f"{TRAINED} pictures to learn from, {TESTED} new ones to measure. k-means: of colour and place, each in [0, 1].\n"
    )
    print(f"| pictures | method | {' | '.join(NAMES)} | CPU s |\n|---|---|{'--:|' * (len(NAMES) + 1)}")
    for kind, settings in KINDS.items():
        new, rng = ObjectPictures(TESTED, size, seed=99, **settings), np.random.default_rng(0)
        values, seconds = [], []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            model, start = SlotAttention(TINY_CONFIG), time.process_time()
            pictures = ObjectPictures(TRAINED, size, seed=seed, **settings)
            fit(model, pictures, replace(TINY, seed=seed), surroundings=Surroundings(device="cpu"))
            seconds.append(time.process_time() - start)
            with torch.no_grad():
                values.append(measured(ids_of(model(as_images(new))).numpy(), new))
        print(f"| {kind} | slot attention | {cells(values)} | {min(seconds):.0f} |", flush=True)
        clustered = np.stack([clustered_ids(picture.image, slots) for picture in new.pictures])
        random = rng.integers(0, slots, clustered.shape)
        print(f"| {kind} | k-means, {slots} | {cells([measured(clustered, new)])} | |")
        print(f"| {kind} | random masks | {cells([measured(random, new)])} | |")
    print()


def print_times() -> None:
    """Of the paper's sizes, and of the encoder in both orders of memory."""
    print(
        "## Where the time goes\n\nms of CPU time, forward and backward, the paper's sizes with 64 x 64 px, batch 4.\n"
    )
    config = Config(size=(64, 64), upsamplings=3)
    torch.manual_seed(0)
    model, images = SlotAttention(config), torch.rand(4, 3, 64, 64)
    noise = torch.randn(4, config.slots, config.features)
    tokens, slots = torch.randn(4, 64 * 64, config.features), torch.randn(4, config.slots, config.features)
    last = torch.channels_last

    def both(work):
        def run() -> None:
            model.zero_grad()
            work().sum().backward()

        return run

    ms = best_ms(
        {
            "encoder's convolutions, channels last": both(
                lambda: model.encoder.convolutions(images.contiguous(memory_format=last))
            ),
            "encoder's convolutions, channels first": both(lambda: model.encoder.convolutions(images)),
            "slots, 3 iterations": both(lambda: model.slots(tokens, slots)[0]),
            "decoder, 7 slots": both(lambda: model.decoder(slots)[0]),
            "all": both(lambda: model.explain(images, noise).picture),
        },
        rounds=3,
    )
    print("| part | ms |\n|---|--:|")
    for name, value in ms.items():
        print(f"| {name} | {value:.0f} |")
    print()


def main() -> None:
    torch.set_num_threads(1)
    print("# Slot attention\n\n`OMP_NUM_THREADS=1 python benchmarks/slots.py`, one thread.\n")
    print_found()
    print_times()
    print(LOSSES, end="")


if __name__ == "__main__":
    main()
