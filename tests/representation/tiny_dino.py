"""A DINO that takes a blink for a step, with all its parts."""

from dataclasses import replace

import torch

from firstsight.nets.vit import Config as VitConfig
from firstsight.representation.joint_embedding.dino import PATTERNS_CONFIG, PATTERNS_RECIPE, Config, Dino
from firstsight.training.recipe import Recipe

BLINK_CONFIG: Config = replace(
    PATTERNS_CONFIG,
    vit=VitConfig(size=(16, 16), patch=8, width=16, blocks=1, heads=2, registers=1),
    size=(16, 16),
    large=(
        replace(PATTERNS_CONFIG.large[0], size=(16, 16), blur=0.5, sigma_px=(0.1, 1.0)),
        replace(PATTERNS_CONFIG.large[1], size=(16, 16)),
    ),
    small=replace(PATTERNS_CONFIG.small, size=(8, 8)),
    hidden=16,
    bottleneck=8,
    prototypes=32,
    teacher_temperature=0.07,
    first_teacher_temperature=0.04,
    frozen_share=0.2,
    centre_momentum=0.9,
)
BLINK_RECIPE: Recipe = replace(PATTERNS_RECIPE, steps=20, batch=8, warm_up=0.1, log_every=1, checkpoint_every=5)


def dino(seed: int = 0, **changes) -> Dino:
    torch.manual_seed(seed)
    return Dino(replace(BLINK_CONFIG, **changes))
