"""Restricted Boltzmann machines against what can be enumerated, and beside scikit-learn. Prints benchmarks/rbm.md.

    OMP_NUM_THREADS=1 python benchmarks/rbm.py

One thread; CPU time of the process. The peer, sklearn.neural_network.BernoulliRBM (persistent chains, plain descent),
needs scikit-learn, which is no dependency: without it its rows are left out.
"""

import math
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch

from firstsight.representation.energy.rbm import (
    Config,
    Estimate,
    Machine,
    Rbm,
    bias_of,
    binary_states,
    estimated_log_partition,
    free_energy,
    gibbs,
    hidden_probability,
    log_partition,
    visible_probability,
)
from firstsight.training.fit import Runtime, fit
from firstsight.training.recipe import Recipe
from firstsight.training.toys.binary_images import BinaryImages, bars, bars_and_stripes, bars_entropy

CPU = Runtime(device="cpu")
TINY_CONFIG, TINY = Rbm.PRESETS["tiny"]
BARS_STEPS = 3000
LOSSES = """## What falls short

`tiny` is 17.8 to 19.5 nats above independent pixels and 9.6 to 11.2 below the best possible: 20 hidden units for 16
bars that cover each other. CD-1 stays 0.57 nats or more below the best on bars and stripes. On the same, the peer
ends below a uniform law (-6.24 nats): its chains are as many as its batch, 14, where ours are 100, its rate does not
fall, and it has no momentum, so the two are not like for like. With 8 x 8 pixels it has 50 chains as we do, and the
same number of steps and first rate.
"""


def rows(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float().flatten(1)


def uniform_of(count: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda columns: torch.rand((count, columns), generator=generator)


def random_machine(visible: int, hidden: int, scale: float) -> Machine:
    generator = torch.Generator().manual_seed(0)
    return Machine(*(scale * torch.randn(s, generator=generator) for s in ((visible, hidden), (visible,), (hidden,))))


@torch.no_grad()
def log_likelihood(machine: Machine, visible: torch.Tensor, log_z: float | None = None) -> float:
    return -float(free_energy(machine, visible).mean()) - (log_partition(machine) if log_z is None else log_z)


def print_gradients() -> None:
    """The expected gradient of CD-k by powers of the chain's transition matrix."""
    print(
        "## CD-k and the exact gradient\n\n"
        "Random machines of 4 x 3 units, weights and biases of the given sigma. How far the expectation of\n"
        "CD-k's gradient of W from four images is from the likelihood's, as a share of the latter's norm.\n"
    )
    steps = (1, 2, 3, 5, 10, 20, 50)
    print("| sigma | " + " | ".join(f"k = {k}" for k in steps) + " |\n|---|" + "--:|" * len(steps))
    states, causes = binary_states(0, 16, 4), binary_states(0, 8, 3)
    empirical = torch.bincount(torch.tensor([1, 7, 7, 12]), minlength=16).double() / 4
    for scale in (1.0, 2.0, 4.0):
        machine = Machine(*(part.double() for part in random_machine(4, 3, scale)))
        states, causes = states.double(), causes.double()
        on, back = hidden_probability(machine, states), visible_probability(machine, causes)
        to_hidden = torch.stack([torch.where(h > 0, on, 1 - on).prod(1) for h in causes], 1)
        chain = to_hidden @ torch.stack([torch.where(v > 0, back, 1 - back).prod(1) for v in states], 1)
        law = (-free_energy(machine, states)).softmax(0)

        def gradient(weights: torch.Tensor, states=states, on=on) -> torch.Tensor:
            return torch.einsum("s,si,sj->ij", weights, states, on)

        exact = gradient(empirical - law)
        off = [gradient(empirical @ torch.linalg.matrix_power(chain, k) - law).norm() / exact.norm() for k in steps]
        print(f"| {scale:g} | " + " | ".join(f"{float(value):.1e}" for value in off) + " |")
    print()


def print_bars() -> None:
    print(
        "## Bars and stripes, 3 x 3\n\n"
        f"14 of 512 images; the best possible is -log 14 = {-math.log(14):.3f} nats.\n"
        f"24 hidden units, {BARS_STEPS} steps of all 14. Total variation: of 40,000 samples, 50 Gibbs steps on from\n"
        "the data, from the data.\n"
    )
    print("| method | log-likelihood, seeds 0 1 2 | total variation of samples | CPU s |\n|---|--:|--:|--:|")
    images = bars_and_stripes(3)
    data = rows(images)
    recipe = Recipe(
        steps=BARS_STEPS, batch=14, optimiser="sgd", learning_rate=0.1, momentum=0.5, schedule="cosine", log_every=1000
    )
    for name, settings in {
        "CD-1": {},
        "CD-5": {"k": 5},
        "persistent, k = 1": {"persistent": True},
        "persistent, k = 5": {"persistent": True, "k": 5},
    }.items():
        reached, variations, seconds = [], [], []
        for seed in range(3):
            torch.manual_seed(seed)
            model, start = Rbm(Config(side=3, hidden=24, **settings)), time.process_time()
            fit(model, BinaryImages(images), recipe, runtime=CPU)
            seconds.append(time.process_time() - start)
            reached.append(log_likelihood(model.machine, data))
            begin = data.repeat(40_000 // 14 + 1, 1)[:40_000]
            variations.append(variation(gibbs(model.machine, begin, 50, uniform_of(40_000)), data))
        print(f"| {name} | {numbers(reached)} | {numbers(variations)} | {min(seconds):.0f} |", flush=True)
    if find_spec("sklearn"):
        from sklearn.neural_network import BernoulliRBM

        reached, seconds = [], []
        for seed in range(3):
            peer, start = (
                BernoulliRBM(24, learning_rate=0.1, batch_size=14, n_iter=BARS_STEPS, random_state=seed),
                time.process_time(),
            )
            peer.fit(data.numpy())
            seconds.append(time.process_time() - start)
            reached.append(log_likelihood(of_peer(peer), data))
        print(f"| scikit-learn's BernoulliRBM | {numbers(reached)} | | {min(seconds):.0f} |")
    print()


def of_peer(peer) -> Machine:
    parts = (peer.components_.T, peer.intercept_visible_, peer.intercept_hidden_)
    return Machine(*(torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts))


def numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def variation(found: torch.Tensor, data: torch.Tensor) -> float:
    """Total variation between the found states and the uniform law on the data."""
    bits = 2.0 ** torch.arange(data.shape[1])
    counts = torch.bincount((found @ bits).long(), minlength=2 ** data.shape[1]) / len(found)
    law = torch.bincount((data @ bits).long(), minlength=2 ** data.shape[1]) / len(data)
    return float((counts - law).abs().sum() / 2)


def estimate_cells(found: Estimate) -> str:
    return f"{found.log_z:.3f} | {found.low:.3f} to {found.high:.3f}"


def print_annealing() -> None:
    print(
        "## Annealed importance sampling\n\n"
        "Random machines of 20 x 16 units; 200 runs; exact log Z by enumeration; bounds at three standard errors.\n"
    )
    print("| sigma | levels | exact | estimate | bounds | CPU s |\n|---|--:|--:|--:|--:|--:|")
    for scale in (0.3, 1.0, 2.0):
        machine = random_machine(20, 16, scale)
        exact = log_partition(machine)
        for levels in (100, 1000):
            start = time.process_time()
            found = estimated_log_partition(machine, torch.zeros(20), levels, uniform_of(200))
            seconds = time.process_time() - start
            print(f"| {scale:g} | {levels} | {exact:.3f} | {estimate_cells(found)} | {seconds:.1f} |")
    print()


def print_crossing() -> None:
    side, hidden = TINY_CONFIG.side, TINY_CONFIG.hidden
    print(
        f"## Bars that cross, {side} x {side}\n\n"
        f"`tiny`: {TINY.steps} steps of {TINY.batch}, {hidden} hidden units, persistent chains."
    )
    print(f"Mean log-likelihood of 1,000 new images, log Z added up over 2^{hidden} states.\n")
    print("| method | log-likelihood, nats, seeds 0 1 2 | CPU s |\n|---|--:|--:|")
    images = bars(1000, side)
    shown, new = rows(images), rows(bars(1000, side, seed=1))
    base = bias_of(shown)
    print(f"| the best possible (minus the entropy) | {-bars_entropy(side):.2f} | |")
    print(
        f"| independent pixels | {log_likelihood(Machine(torch.zeros(side**2, 1), base, torch.zeros(1)), new):.2f} | |"
    )
    machines, seconds = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        model, start = Rbm(TINY_CONFIG), time.process_time()
        fit(model, BinaryImages(images), replace(TINY, seed=seed), runtime=CPU)
        machines.append(model.machine)
        seconds.append(time.process_time() - start)
    reached = [log_likelihood(machine, new) for machine in machines]
    print(f"| `tiny` | {numbers(reached)} | {min(seconds):.0f} |", flush=True)
    if find_spec("sklearn"):
        print_peer(shown, new)
    print("\nAnnealing to the first of these machines, 100 runs:\n")
    print("| levels | exact log Z | estimate | bounds | CPU s |\n|--:|--:|--:|--:|--:|")
    exact = log_partition(machines[0])
    for levels in (1000, 10_000):
        start = time.process_time()
        found = estimated_log_partition(machines[0], base, levels, uniform_of(100))
        used = time.process_time() - start
        print(f"| {levels} | {exact:.3f} | {estimate_cells(found)} | {used:.1f} |")
    print()


def print_peer(shown: torch.Tensor, new: torch.Tensor) -> None:
    from sklearn.neural_network import BernoulliRBM

    peer, start = (
        BernoulliRBM(
            TINY_CONFIG.hidden,
            learning_rate=TINY.learning_rate,
            batch_size=TINY.batch,
            n_iter=TINY.steps * TINY.batch // len(shown),
            random_state=0,
        ),
        time.process_time(),
    )
    peer.fit(shown.numpy())
    seconds = time.process_time() - start
    value = log_likelihood(of_peer(peer), new)
    print(f"| scikit-learn's BernoulliRBM, as many steps, seed 0 | {value:.2f} | {seconds:.0f} |")


def main() -> None:
    torch.set_num_threads(1)
    print("# Restricted Boltzmann machines\n\n`OMP_NUM_THREADS=1 python benchmarks/rbm.py`, one thread.\n")
    print_gradients()
    print_bars()
    print_annealing()
    print_crossing()
    print(LOSSES, end="")


if __name__ == "__main__":
    main()
