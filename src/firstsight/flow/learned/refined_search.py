"""Flow that a search finds and a network refines: sharper at edges, and filled in where nothing corresponds.

Paper:  Kroeger et al. Fast Optical Flow using Dense Inverse Search. ECCV 2016, refined as FlowNet 2.0 stacks networks (Ilg et al.,
        CVPR 2017) and GeoNet adds a residual to rigid flow (Yin, Shi, CVPR 2018); crops teach as in UFlow (ECCV 2020).
Idea:   dense inverse search gives f and what it thinks of it: where it is valid, which error it expects    -> searched()
        b is brought back by f; features of both are compared near by, which tells what the search missed     -> Refiner
        f + doubt r, r by a decoder from a half of the resolution on, near 0 at first                   -> RefinedSearch.flows()
        doubt is small where the search is sure, which it knows better than the network            -> Searched.doubt
        learned from true flow (flow.learned.supervised) or from video alone (flow.learned.from_video): `truth` says which. Of
        video it is the crops that teach most: in a crop the search loses what leaves it, and the whole image shows where it went.
        Larger images than those of training are searched as they are; the residual is found at the size of training.
Differs: the papers refine a network's or a rigid flow, this a classical one, which stays what it is where nothing is learned.
Role:   FlowEstimator.  Units: px.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.learned import from_video, supervised
from firstsight.flow.learned.comparing import compared
from firstsight.flow.learned.from_video import Pair, TaughtPair, loss_of_video
from firstsight.flow.learned.network_flow import Flows, NetworkFlow, check_size
from firstsight.geometry.pixels import resize, resize_flow
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses import unsupervised_flow as losses
from firstsight.matching.correlation.local import Window
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import FlowDecoder, convolution
from firstsight.roles import Flow, FlowEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext
from firstsight.training.views import recoloured

RESIDUAL_PX = 5.0  # the decoder answers in this unit
FLOW_PX, ERROR_PX = 20.0, 5.0  # units in which the network is shown the flow and its error
REMEMBERED_BYTES = 2**30
HALF = 0.5  # of a coarse pixel, valid
REACH = 3  # px of a quarter of the resolution, that features are compared within

Map = Float[Tensor, "batch 1 height width"]
Maps = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True, kw_only=True)
class Config(from_video.Lessons):
    """`size` (height, width): multiples of 32. `truth`: learns from true flow; from video where False.

    `widths` are those of the maps at 1/2, 1/4 ... of the resolution; features are compared at 1/4. `robust`: supervised.of_scales.
    """

    size: tuple[int, int] = (256, 448)
    truth: bool = True
    widths: tuple[int, ...] = (32, 64, 96, 128, 128)
    features: int = 32
    robust: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_size("refined-search", self.size, 32)
        if not 3 <= len(self.widths) <= 5:
            raise InputError(f"refined-search: {len(self.widths)} widths; give 3 to 5")


class Searched(NamedTuple):
    """What the search found: flow (px), where the way back confirms it, and the error (px) that it expects."""

    flow: Flows
    valid: Map
    error: Map

    @property
    def doubt(self) -> Map:
        """1 - valid / (1 + error^2), in [0, 1]: how much of a change is taken over."""
        return 1 - self.valid / (1 + self.error.square())


@torch.no_grad()
def searched(search: FlowEstimator, image_a: Images, image_b: Images) -> Searched:
    """The flow of the search, without derivatives, on the images' device."""
    found = [search(a[None].detach().cpu(), b[None].detach().cpu()) for a, b in zip(image_a, image_b, strict=True)]
    errors = [flow.error_px for flow in found if flow.error_px is not None]
    parts = (
        torch.cat([flow.flow for flow in found]),
        torch.cat([flow.valid for flow in found]).float(),
        torch.cat(errors),
    )
    return Searched(*(part.to(image_a.device) for part in parts))


@final
class RememberedSearch(FlowEstimator):
    """A search that remembers what it found between which images: a training asks for the same pairs, and their crops, often."""

    def __init__(self, search: FlowEstimator, most_bytes: int = REMEMBERED_BYTES):
        self.search, self.room = search, most_bytes
        self.known: dict[bytes, Flow] = {}

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        key = hashlib.blake2b(image_a.numpy().tobytes() + image_b.numpy().tobytes(), digest_size=16).digest()
        if key in self.known:
            return self.known[key]
        found = self.search(image_a, image_b)
        size = sum(part.nbytes for part in found if part is not None)
        if size <= self.room:
            self.known[key], self.room = found, self.room - size
        return found


@final
class Refiner(nn.Module):
    """Two images, and a flow between them with what is thought of it, to a residual flow at 1/2, 1/4 ... of the resolution."""

    def __init__(self, widths: Sequence[int], features: int):
        super().__init__()
        self.window = Window.square(REACH)
        self.features = nn.Sequential(convolution(3, features // 2, 3, 2), convolution(features // 2, features, 3, 2))
        shown = 3 + 3 + 1 + 2 + 1 + 1
        before = [shown, *widths[:-1]]
        beside = [len(self.window.displacements) if level == 2 else 0 for level in range(len(widths))]
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(one + more, width, 3, 2), convolution(width, width))
            for one, more, width in zip(before, beside, widths, strict=True)
        )
        self.decoder = FlowDecoder(widths, widths[:-1])

    def forward(self, image_a: Images, image_b: Images, start: Searched) -> list[Tensor]:
        """Finest first, px of the images."""
        image_a, image_b = normalised(image_a), normalised(image_b)
        again, inside = warp_by_flow(image_b, start.flow)
        unlike = (image_a - again).abs().mean(1, keepdim=True)
        known = start.valid * inside
        told = [unlike, start.flow / FLOW_PX, known, (start.error / ERROR_PX).clamp(max=4)]
        scores = compared(self.features(image_a), self.features(again), self.window)
        within, maps = torch.cat([image_a, again, *told], 1), []
        for level, layers in enumerate(self.levels):
            within = layers(torch.cat([within, scores], 1) if level == 2 else within)
            maps.append(within)
        return [RESIDUAL_PX * flow for flow in self.decoder(maps)]


@final
class RefinedSearch(NetworkFlow[supervised.Batch | Pair | TaughtPair]):
    """Begins as dense inverse search."""

    multiple = 32
    PRESETS: ClassVar = {
        "paper": Preset(Config(), supervised.LONG),
        "tiny": Preset(Config(size=(64, 128), widths=(16, 24, 32, 48, 48), features=16), supervised.SHORT),
        "video": Preset(
            Config(
                size=(64, 192),
                truth=False,
                widths=(16, 24, 32, 48, 48),
                features=16,
                terms=losses.Config(smoothness_weight=1.0, smoothness_scale=2),
                recoloured_share=0.0,  # so that the search of a pair is done once
                teach_weight=1.0,
                teach_from=0.0,
                teach_ramp=0.0,
            ),
            Recipe(steps=600, batch=4, learning_rate=1e-3, warm_up=0.05, schedule="cosine", log_every=50),
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.search = DenseInverseSearch()
        self.remembered = RememberedSearch(self.search)
        self.refiner = Refiner(c.widths, c.features)

    @property
    def wanted(self) -> Wanted:
        if self.config.truth:
            return Wanted(supervised.Batch, self.config.size, clip=frames(0, 1))
        return self.config.wanted

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        """The finest is of the images' size."""
        search = self.remembered if self.training and not self.config.truth else self.search
        return self.refined(image_a, image_b, searched(search, image_a, image_b))

    def refined(self, image_a: Images, image_b: Images, start: Searched) -> list[Tensor]:
        """What the network makes of a start: flow of the images' size, then of 1/4, 1/8 ... of it."""
        residuals = self.refiner(image_a, image_b, start)
        size = image_a.shape[-2:]
        whole = start.flow + start.doubt * F.interpolate(residuals[0], size, mode="bilinear", align_corners=False)
        flow, doubt = (
            [F.adaptive_avg_pool2d(maps, one.shape[-2:]) for one in residuals] for maps in (start.flow, start.doubt)
        )
        return [whole, *(flow[k] + doubt[k] * residuals[k] for k in range(1, len(residuals)))]

    def whole(self, image_a: Images, image_b: Images) -> Flows:
        """The search's flow of the images as they are, and what the network adds to it at the size of training."""
        if torch.compiler.is_exporting():
            raise InputError("refined-search: cannot be exported, its search is not part of a network; use the folder")
        start, (height, width) = searched(self.search, image_a, image_b), self.config.size
        if image_a.shape[-2:] == (height, width):
            return self.refined(image_a, image_b, start)[0]
        scale = min(height / image_a.shape[-2], width / image_a.shape[-1])
        valid, error = resize(start.valid, height, width), resize(start.error, height, width) * scale
        small = Searched(resize_flow(start.flow, height, width), (valid > HALF).to(valid.dtype), error)
        residual = self.refiner(resize(image_a, height, width), resize(image_b, height, width), small)[0]
        # It lies on a half of the resolution, and is in px of the whole.
        doubled = F.interpolate(residual, (height, width), mode="bilinear", align_corners=False)
        return start.flow + start.doubt * resize_flow(doubled, *image_a.shape[-2:])

    def both_ways(self, image_a: Images, image_b: Images) -> tuple[Flows, Flows]:
        """The flow from a to b and back."""
        flow_ab, flow_ba = self.flows(torch.cat([image_a, image_b]), torch.cat([image_b, image_a]))[0].chunk(2)
        return flow_ab, flow_ba

    def loss(self, batch: supervised.Batch | Pair | TaughtPair, context: StepContext) -> Loss:
        if not isinstance(batch, supervised.Batch):
            return loss_of_video(self.both_ways, batch, self.config, context)
        pair = [unit_range(batch.images[:, time]) for time in (0, 1)]
        image_a, image_b = recoloured(pair, context.random, self.config.recoloured_share)
        start = searched(self.search, image_a, image_b)
        found = self.refined(image_a, image_b, start)
        total = supervised.of_scales(found, batch.flow_ab, batch.valid, self.config.robust)
        errors = [
            supervised.scale_error(flow.detach(), batch.flow_ab, batch.valid, False) for flow in (found[0], start.flow)
        ]
        return Loss(total, {"epe_px": errors[0], "epe_of_search_px": errors[1]})

    @torch.no_grad()
    def preview(self, batch: supervised.Batch | Pair | TaughtPair, context: StepContext) -> dict[str, Tensor]:
        image_a, image_b = (unit_range(batch.images[:, time]) for time in (0, 1))
        start = searched(self.search, image_a, image_b)
        found = self.refined(image_a, image_b, start)[0]
        return {
            "first image": image_a,
            "second image": image_b,
            "length of the search's flow (px)": start.flow.norm(dim=1, keepdim=True),
            "length of the flow (px)": found.norm(dim=1, keepdim=True),
            "length of the change (px)": (found - start.flow).norm(dim=1, keepdim=True),
        }
