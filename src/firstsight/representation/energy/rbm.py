"""Restricted Boltzmann machine: binary pixels and binary causes, learnt by contrasting data with its own samples.

Paper:  Smolensky. Information Processing in Dynamical Systems: Foundations of Harmony Theory. 1986;
        Hinton. Training Products of Experts by Minimizing Contrastive Divergence. Neural Computation 14(8), 2002;
        Hinton, Osindero, Teh. A Fast Learning Algorithm for Deep Belief Nets. Neural Computation 18(7), 2006;
        Tieleman. Training RBMs Using Approximations to the Likelihood Gradient. ICML 2008 (persistent chains);
        Salakhutdinov, Murray. On the Quantitative Analysis of Deep Belief Networks. ICML 2008 (annealed importance
        sampling); Hinton. A Practical Guide to Training Restricted Boltzmann Machines. 2010.
Idea:   E(v, h) = -a'v - b'h - v'Wh                                                                   -> energy()
        p(h_j = 1 | v) = sigmoid(b_j + sum_i v_i W_ij)                                    -> hidden_probability()
        p(v_i = 1 | h) = sigmoid(a_i + sum_j W_ij h_j)                                   -> visible_probability()
        F(v) = -log sum_h exp(-E(v, h)) = -a'v - sum_j softplus(b_j + sum_i v_i W_ij)            -> free_energy()
        p(v) = exp(-F(v)) / Z,  -d log p / dW_ij = <v_i h_j> of the model - <v_i h_j> of the data
        loss = mean F(v) - mean F(v'), v' after k steps of Gibbs' sampler:    v -> h -> v'   -> gibbs(), Rbm.loss()
        begun at the data (CD-k) or where it last ended (persistent); v' has no gradient
        log Z: all states of the smaller layer -> log_partition(); annealing -> estimated_log_partition()
Differs: the slides' energy has no biases and their sums run over both indices; they show the gradient for k = infinity,
        which CD-k comes nearer to as k grows. The last h is a probability, v' is drawn. The guide's momentum rises
        from 0.5 to 0.9 during training; Recipe's stays. Grey pixels are taken for probabilities and drawn anew each
        time ("drawn"), as in Salakhutdinov and Murray, or used as they are ("grey").
Role:   Encoder: p(h | v) of the whole image's luma, scaled to side x side pixels.
Units:  nats; pixels in [0, 1], where 1 is white.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.errors import InputError
from firstsight.geometry.images import LUMA
from firstsight.roles import Encoder, Images
from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable

FIRST_SIGMA = 0.01  # of the weights (the guide, section 8)
MAX_ENUMERATED = 22  # units of the smaller layer
ENUMERATED_AT_ONCE = 2**12
SIGMAS = 3  # of the bounds of an estimate

Visible = Float32[Tensor, "rows visible"]
Hidden = Float32[Tensor, "rows hidden"]
Uniform = Callable[[int], Tensor]
"""Draws from [0, 1): the number of columns -> (rows, columns)."""


class Machine(NamedTuple):
    """An RBM's parameters W, a, b."""

    weight: Float32[Tensor, "visible hidden"]
    visible_bias: Float32[Tensor, " visible"]
    hidden_bias: Float32[Tensor, " hidden"]

    @property
    def transposed(self) -> "Machine":
        """The same with visible and hidden exchanged."""
        return Machine(self.weight.mT, self.hidden_bias, self.visible_bias)


def energy(machine: Machine, visible: Visible, hidden: Hidden) -> Float32[Tensor, " rows"]:
    return (
        -(visible @ machine.visible_bias)
        - hidden @ machine.hidden_bias
        - torch.einsum("ri,ij,rj->r", visible, machine.weight, hidden)
    )


def hidden_probability(machine: Machine, visible: Visible) -> Hidden:
    return torch.sigmoid(machine.hidden_bias + visible @ machine.weight)


def visible_probability(machine: Machine, hidden: Hidden) -> Visible:
    return hidden_probability(machine.transposed, hidden)


def free_energy(machine: Machine, visible: Visible) -> Float32[Tensor, " rows"]:
    return -(visible @ machine.visible_bias) - F.softplus(machine.hidden_bias + visible @ machine.weight).sum(1)


def drawn(probability: Float32[Tensor, "rows units"], uniform: Uniform) -> Float32[Tensor, "rows units"]:
    """Binary states of units that are on with these probabilities."""
    return (uniform(probability.shape[1]) < probability).float()


@torch.no_grad()
def gibbs(machine: Machine, visible: Visible, steps: int, uniform: Uniform) -> Visible:
    """Returns where chains that begin at `visible` are after that many times v -> h -> v."""
    for _ in range(steps):
        hidden = drawn(hidden_probability(machine, visible), uniform)
        visible = drawn(visible_probability(machine, hidden), uniform)
    return visible


def binary_states(first: int, last: int, units: int) -> Float32[Tensor, "states units"]:
    """The states first .. last - 1 of all 2^units; unit 0 is the lowest bit."""
    numbers = torch.arange(first, last)[:, None]
    return ((numbers >> torch.arange(units)) & 1).float()


@torch.no_grad()
def log_partition(machine: Machine) -> float:
    """log Z, summed over all states of the smaller layer. Raises InputError where they are too many."""
    smaller = machine if len(machine.visible_bias) <= len(machine.hidden_bias) else machine.transposed
    units = len(smaller.visible_bias)
    if units > MAX_ENUMERATED:
        raise InputError(
            f"rbm: 2^{units} states are too many to add up; estimate log Z, or take {MAX_ENUMERATED} units"
        )
    parts = []
    for first in range(0, 2**units, ENUMERATED_AT_ONCE):
        states = binary_states(first, min(first + ENUMERATED_AT_ONCE, 2**units), units)
        parts.append(torch.logsumexp(-free_energy(smaller, states.to(smaller.weight.device)).double(), 0))
    return float(torch.logsumexp(torch.stack(parts), 0))


class Estimate(NamedTuple):
    """An estimated log Z; its bounds are where the estimate of Z is three standard errors off."""

    log_z: float
    low: float
    high: float


@torch.no_grad()
def estimated_log_partition(
    machine: Machine, base_bias: Float32[Tensor, " visible"], levels: int, uniform: Uniform
) -> Estimate:
    """Annealed importance sampling (Salakhutdinov, Murray, section 4.1.3), one run for each row that `uniform` random.

    From a machine whose units are independent, with this visible bias, over `levels` mixtures
    p_t(v) ~ exp((1 - t) base_bias'v + t a'v) prod_j (1 + exp(t (b_j + sum_i v_i W_ij))), t from 0 to 1.
    """
    mixed = [
        Machine(t * machine.weight, (1 - t) * base_bias + t * machine.visible_bias, t * machine.hidden_bias)
        for t in torch.linspace(0, 1, levels + 1).tolist()
    ]
    at_base = float(F.softplus(base_bias.double()).sum()) + len(machine.hidden_bias) * math.log(2)
    first = torch.sigmoid(base_bias)
    visible = (uniform(len(base_bias)) < first).float()
    log_weight = torch.zeros(len(visible), dtype=torch.float64, device=visible.device)
    for before, after in pairwise(mixed):
        log_weight += free_energy(before, visible) - free_energy(after, visible)
        visible = gibbs(after, visible, 1, uniform)
    return estimate(at_base, log_weight)


def estimate(at_base: float, log_weight: Tensor) -> Estimate:
    runs, highest = len(log_weight), log_weight.max()
    weight = (log_weight - highest).exp()
    mean, error = float(weight.mean()), float(weight.std()) / math.sqrt(runs)
    offset = at_base + float(highest)
    low = math.log(mean - SIGMAS * error) if mean > SIGMAS * error else -math.inf
    return Estimate(offset + math.log(mean), offset + low, offset + math.log(mean + SIGMAS * error))


def bias_of(images: Visible) -> Float32[Tensor, " visible"]:
    """The biases of units that are independent and as often on as in the images, after one more of each kind."""
    share = (images.sum(0) + 1) / (len(images) + 2)
    return share.log() - (1 - share).log()


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hinton's for MNIST. `chains` are each process's own; in Tieleman's paper they are as many as a batch."""

    side: int = 28  # of the image, px
    hidden: int = 500
    k: int = 1  # Gibbs steps for each update
    persistent: bool = False
    chains: int = 100
    pixels: Literal["drawn", "grey"] = "drawn"

    def __post_init__(self):
        for name in ("side", "hidden", "k", "chains"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: at least 1 is needed")

    @property
    def visible(self) -> int:
        return self.side**2


@final
class Rbm(Encoder, Trainable[ImageBatch]):
    """Learns which pixels go together; its features are the causes it believes in."""

    PRESETS: ClassVar = {
        # 50 epochs of MNIST
        "paper": Preset(
            Config(),
            Recipe(steps=30_000, batch=100, optimiser="sgd", learning_rate=0.05, momentum=0.9, weight_decay=2e-4),
        ),
        # small enough for log_partition()
        "tiny": Preset(
            Config(side=8, hidden=20, persistent=True, chains=50),
            Recipe(steps=3000, batch=50, optimiser="sgd", learning_rate=0.2, momentum=0.5, schedule="cosine"),
        ),
    }
    chains: Tensor  # where there are persistent ones

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        visible, hidden = self.config.visible, self.config.hidden
        self.weight = nn.Parameter(FIRST_SIGMA * torch.randn(visible, hidden))
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))
        if self.config.persistent:
            self.register_buffer(
                "chains", torch.bernoulli(torch.full((self.config.chains, visible), 0.5)), persistent=False
            )

    @property
    def machine(self) -> Machine:
        return Machine(self.weight, self.visible_bias, self.hidden_bias)

    @property
    def wanted(self) -> Wanted:
        return Wanted(ImageBatch, (self.config.side, self.config.side))

    def loss(self, batch: ImageBatch, context: StepContext) -> Loss:
        visible, machine = pixels(unit_range(batch.images[:, 0])), self.machine
        if self.config.pixels == "drawn":
            visible = drawn(visible, context.random.uniform)
        negative = self.negative_samples(visible, context)
        total = free_energy(machine, visible).mean() - free_energy(machine, negative).mean()
        with torch.no_grad():
            features = hidden_probability(machine, visible)
            error = (visible_probability(machine, features) - visible).square().mean()
        return Loss(total, {"reconstruction error": error}, features, carry={"negative": negative})

    def negative_samples(self, visible: Visible, context: StepContext) -> Float32[Tensor, "chains visible"]:
        """k steps on from the data, or from where the chains are."""
        if not self.config.persistent:
            return gibbs(self.machine, visible, self.config.k, context.random.uniform)

        def uniform(columns: int) -> Tensor:
            rows = -(-self.config.chains // len(visible))
            return context.random.uniform(rows, columns).flatten(0, 1)[: self.config.chains]

        return gibbs(self.machine, self.chains, self.config.k, uniform)

    @property
    def couples_samples(self) -> bool:
        """Persistent chains are moved once for all samples of a batch."""
        return self.config.persistent

    def after_update(self, carry: Mapping[str, Tensor], context: StepContext) -> None:
        """Persistent chains go on from where they are."""
        if self.config.persistent:
            self.chains.copy_(carry["negative"])

    def encode(self, image: Images) -> Float32[Tensor, "batch features"]:
        size = (self.config.side, self.config.side)
        if image.shape[2:] != size:
            image = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
        return hidden_probability(self.machine, pixels(image))

    @torch.no_grad()
    def preview(self, batch: ImageBatch, context: StepContext) -> dict[str, Tensor]:
        visible, machine = pixels(unit_range(batch.images[:, 0])), self.machine
        after = visible_probability(machine, hidden_probability(machine, visible))
        samples = gibbs(
            machine, drawn(torch.full_like(visible, 0.5), context.random.uniform), 100, context.random.uniform
        )
        shown = {"input": visible, "what the causes explain": after, "samples from noise": samples}
        return {title: self.as_images(rows) for title, rows in shown.items()} | {"filters": self.filters()}

    def as_images(self, visible: Visible) -> Float32[Tensor, "rows 1 side side"]:
        return visible.unflatten(1, (1, self.config.side, self.config.side))

    def filters(self) -> Float32[Tensor, "hidden 1 side side"]:
        """The weights of each hidden unit."""
        return self.as_images(self.weight.detach().mT.contiguous())


def pixels(image: Float32[Tensor, "batch 3 height width"]) -> Float32[Tensor, "batch pixels"]:
    """Luma, row after row."""
    return torch.einsum("bcyx,c->byx", image, image.new_tensor(LUMA)).flatten(1)
