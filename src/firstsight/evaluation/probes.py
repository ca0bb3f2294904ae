"""What features know without being changed: the nearest neighbours' labels, and a linear classifier.

Source: Wu, Xiong, Yu, Lin. Unsupervised Feature Learning via Non-Parametric Instance Discrimination. CVPR 2018, section 3.4
(neighbours weighted by exp(cosine / temperature)); Caron et al. DINO. ICCV 2021, section 4.1 (20 neighbours, temperature 0.07);
Alain, Bengio. Understanding Intermediate Layers Using Linear Classifier Probes. ICLR workshop 2017.

Both work in blocks: memory does not grow with the number of samples times anything but their own features.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from firstsight.errors import InputError
from firstsight.roles import Images
from firstsight.run_folder import Metric
from firstsight.training.data.dataset import Dataset

BLOCK = 1024  # rows that are compared with each other at a time
Features = Float32[Tensor, "rows features"]
Labels = Int64[Tensor, " rows"]


class Labelled(NamedTuple):
    features: Features
    labels: Labels


@torch.no_grad()
def encoded(
    encoder: Callable[[Images], Tensor], samples: Dataset, indices: Sequence[int], batch: int = 256
) -> Features:
    """The features (an Encoder's, or any other function's) of the first view of some samples, on the CPU."""
    blocks = []
    for start in range(0, len(indices), batch):
        images = np.stack([samples.sample(int(i))["images"][0] for i in indices[start : start + batch]])
        blocks.append(encoder(torch.from_numpy(images).float() / 255).cpu())
    return torch.cat(blocks)


def numbered(names: Sequence[str]) -> Labels:
    """Classes as numbers, in the order of their names."""
    order = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([order[name] for name in names])


def neighbours(
    query: Features, known: Float32[Tensor, "known features"], count: int
) -> tuple[Float32[Tensor, "rows {count}"], Int64[Tensor, "rows {count}"]]:
    """The cosines and the numbers of the nearest known samples, nearest first."""
    if count > len(known):
        raise InputError(f"{count} neighbours of {len(known)} samples; choose fewer neighbours or more samples")
    query, known = F.normalize(query, dim=1), F.normalize(known, dim=1)
    cosines, numbers = [], []
    for some in query.split(BLOCK):
        best, places = some.new_empty(len(some), 0), torch.empty(len(some), 0, dtype=torch.int64, device=some.device)
        for start in range(0, len(known), BLOCK):
            found = some @ known[start : start + BLOCK].T
            here = torch.arange(start, start + found.shape[1], device=some.device).expand(found.shape)
            best, order = torch.cat([best, found], 1).topk(min(count, best.shape[1] + found.shape[1]), 1)
            places = torch.cat([places, here], 1).gather(1, order)
        cosines.append(best)
        numbers.append(places)
    return torch.cat(cosines), torch.cat(numbers)


def nearest_labels(query: Features, known: Labelled, count: int = 20, temperature: float | None = 0.07) -> Labels:
    """What the neighbours say; None: each has one vote, and of equally many the class with the lowest number wins."""
    cosines, numbers = neighbours(query, known.features, count)
    weights = torch.ones_like(cosines) if temperature is None else (cosines / temperature).exp()
    votes = cosines.new_zeros(len(query), int(known.labels.max()) + 1)
    return votes.scatter_add_(1, known.labels[numbers], weights).argmax(1)


class Linear(NamedTuple):
    """A linear classifier of standardised features."""

    mean: Float64[np.ndarray, " features"]
    std: Float64[np.ndarray, " features"]
    weights: Float64[np.ndarray, "classes features_and_1"]  # the last column is the bias

    def scores(self, features: Features) -> Float64[np.ndarray, "rows classes"]:
        return with_one((features.numpy() - self.mean) / self.std) @ self.weights.T

    def labels(self, features: Features) -> Labels:
        blocks = features.split(BLOCK)
        return torch.cat([torch.from_numpy(self.scores(block).argmax(1)) for block in blocks])


def with_one(rows: Float64[np.ndarray, "rows features"]) -> Float64[np.ndarray, "rows features_and_1"]:
    return np.concatenate([rows, np.ones((len(rows), 1))], 1)


def fit_linear(known: Labelled, decay: float = 1e-3, iterations: int = 200) -> Linear:
    """Logistic regression: mean cross entropy + decay |weights|^2 / 2 (not of biases), by L-BFGS over all samples."""
    total, squares = np.zeros(known.features.shape[1]), np.zeros(known.features.shape[1])
    for block in known.features.split(BLOCK):
        total += block.double().sum(0).numpy()
    mean = total / len(known.features)
    for block in known.features.split(BLOCK):
        squares += ((block.double().numpy() - mean) ** 2).sum(0)
    std = np.maximum(np.sqrt(squares / len(known.features)), 1e-6)
    shape = int(known.labels.max()) + 1, len(mean) + 1

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        value, gradient = cross_entropy(Linear(mean, std, weights), known)
        decayed = np.where(np.arange(shape[1]) < shape[1] - 1, weights, 0)
        return value + decay / 2 * float((decayed**2).sum()), (gradient + decay * decayed).ravel()

    found = minimize(
        objective, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": iterations}
    )
    return Linear(mean, std, found.x.reshape(shape))


def cross_entropy(probe: Linear, known: Labelled) -> tuple[float, Float64[np.ndarray, "classes features_and_1"]]:
    """The mean over samples, and its gradient by the weights."""
    value, gradient = 0.0, np.zeros_like(probe.weights)
    for features, labels in zip(known.features.split(BLOCK), known.labels.split(BLOCK), strict=True):
        rows = with_one((features.numpy() - probe.mean) / probe.std)
        scores = rows @ probe.weights.T
        scores -= scores.max(1, keepdims=True)
        probabilities = np.exp(scores)
        norms = probabilities.sum(1, keepdims=True)
        picked = np.arange(len(rows)), labels.numpy()
        value += float((np.log(norms[:, 0]) - scores[picked]).sum())
        probabilities /= norms
        probabilities[picked] -= 1
        gradient += probabilities.T @ rows
    return value / len(known.features), gradient / len(known.features)


def neighbour_metric(known: Labelled, held_out: Labelled, count: int = 20, temperature: float | None = 0.07) -> Metric:
    votes = "one vote each" if temperature is None else f"votes exp(cosine / {temperature:g})"
    right = nearest_labels(held_out.features, known, count, temperature) == held_out.labels
    return accuracy(f"{count}-NN accuracy", right, f"{count} nearest by cosine, {votes}; {sizes(known, held_out)}")


def linear_metric(known: Labelled, held_out: Labelled, decay: float = 1e-3) -> Metric:
    right = fit_linear(known, decay).labels(held_out.features) == held_out.labels
    how = f"logistic regression of standardised features, decay {decay:g}; {sizes(known, held_out)}"
    return accuracy("linear probe accuracy", right, how)


def accuracy(name: str, right: Tensor, protocol: str) -> Metric:
    return Metric(name=name, value=100 * float(right.double().mean()), unit="%", protocol=protocol)


def sizes(known: Labelled, held_out: Labelled) -> str:
    classes = len(known.labels.unique())
    return f"{len(known.labels)} known and {len(held_out.labels)} other samples of {classes} classes"
