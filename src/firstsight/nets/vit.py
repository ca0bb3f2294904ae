"""Vision transformer: an image as patches that look at each other.

Paper:  Dosovitskiy et al. An Image is Worth 16x16 Words. ICLR 2021; Vaswani et al. Attention Is All You Need. NIPS 2017;
        Touvron et al. Going Deeper with Image Transformers. ICCV 2021, equation 4 (layer scale);
        Darcet et al. Vision Transformers Need Registers. ICLR 2024.
Idea:   tokens = [CLS + p_0, registers, W patch_i + p_i]                                     -> embed(), prefixed()
        z = tokens + a Attention(norm(tokens)),  tokens' = z + b MLP(norm(z))                             -> Block
        Attention = softmax(q k' / sqrt(head width)) v, in each head by itself     -> Attention, Attention.attend()
        p_i learned on one grid, resized by bicubic interpolation to others                        -> positions()
        the four published layouts of weights have the names used here, but for a few            -> from_published()
Differs: images are in [0, 1]; mean and standard deviation of the weights' training images are part of the network.
Units:  tokens and widths in numbers, images in px.
"""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_into, read_published

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED_HEAD_WIDTH = 64
WRAPPERS = ("teacher", "model", "state_dict", "student")  # what published checkpoints may keep their weights under
PREFIXES = ("module.", "_orig_mod.", "backbone.")
BESIDES = ("head.", "dino_head.", "ibot_head.", "decoder_", "mask_token", "fc_norm.")  # what is not of the encoder

Tokens = Float[Tensor, "batch tokens channels"]
AllTokens = Float[Tensor, "batch all_tokens channels"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width) is of the images that positions are learned for."""

    size: tuple[int, int] = (224, 224)
    patch: int = 16
    width: int = 384
    blocks: int = 12
    heads: int = 6
    hidden_ratio: float = 4.0
    registers: int = 0
    layer_scale: float | None = None  # where it starts; None: none
    qkv_bias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self):
        if self.width % self.heads:
            raise InputError(f"vit: a width of {self.width} cannot be shared by {self.heads} heads; choose a multiple")
        whole_patches(self.size, self.patch)

    @property
    def grid(self) -> tuple[int, int]:
        return whole_patches(self.size, self.patch)


class Attended(NamedTuple):
    """What one attention layer compared; rows of `attention` are of the tokens that look, and sum to 1."""

    query: Float[Tensor, "batch heads tokens head_width"]
    key: Float[Tensor, "batch heads tokens head_width"]
    value: Float[Tensor, "batch heads tokens head_width"]
    attention: Float[Tensor, "batch heads tokens tokens"]


class Encoded(NamedTuple):
    cls: Float[Tensor, "batch channels"]
    patches: Float[Tensor, "batch channels rows columns"]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, qkv_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tokens) -> Tokens:
        return self._merged(F.scaled_dot_product_attention(*self.split(tokens)))

    def attend(self, tokens: Tokens) -> tuple[Tokens, Attended]:
        """The same, step by step, with all that is computed on the way."""
        query, key, value = self.split(tokens)
        attention = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        return self._merged(attention @ value), Attended(query, key, value, attention)

    def split(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (batch, heads, tokens, head width)."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def _merged(self, heads: Float[Tensor, "batch heads tokens head_width"]) -> Tokens:
        return self.proj(heads.transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    def __init__(self, width: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, tokens: Tokens) -> Tokens:
        return tokens * self.gamma


class Block(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width, hidden, start = config.width, round(config.hidden_ratio * config.width), config.layer_scale
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, config.heads, config.qkv_bias)
        self.ls1, self.ls2 = (nn.Identity() if start is None else LayerScale(width, start) for _ in range(2))
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width)))

    def forward(self, tokens: Tokens) -> Tokens:
        return self._after(tokens, self.attn(self.norm1(tokens)))

    def attend(self, tokens: Tokens) -> tuple[Tokens, Attended]:
        update, attended = self.attn.attend(self.norm1(tokens))
        return self._after(tokens, update), attended

    def _after(self, tokens: Tokens, update: Tokens) -> Tokens:
        tokens = tokens + self.ls1(update)
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nn.Module):
    """Images in [0, 1] in, a token for the whole and one for each patch out."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config = config or Config()
        width, (rows, columns) = config.width, config.grid
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, config.patch, config.patch)))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width)) if config.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, width))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for name, part in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(part)[:, None, None], persistent=False)
        initialise(self)

    @property
    def prefix(self) -> int:
        """How many tokens come before the patches."""
        return 1 + self.config.registers

    def forward(self, images: Float32[Tensor, "batch 3 height width"]) -> Encoded:
        tokens = self.encode(self.embed(images))
        grid = whole_patches(tuple(images.shape[-2:]), self.config.patch)
        return Encoded(tokens[:, 0], tokens[:, self.prefix :].transpose(1, 2).unflatten(-1, grid))

    def embed(self, images: Float32[Tensor, "batch 3 height width"]) -> Tokens:
        """The patches, row by row, with their positions; a method may leave some out before `encode`."""
        rows, columns = whole_patches(tuple(images.shape[-2:]), self.config.patch)
        patches = self.patch_embed((images - self.mean) / self.std).flatten(2).transpose(1, 2)
        return patches + self.positions(rows, columns)

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 {rows}*{columns} channels"]:
        """Returns the patches' positions. On the grid they were learned on, bicubic interpolation gives back exactly them."""
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(-1, self.config.grid)
        return F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)

    def prefixed(self, patches: Tokens) -> AllTokens:
        """CLS, registers, patches."""
        first = [
            self.cls_token + self.pos_embed[:, :1],
            *([] if self.register_tokens is None else [self.register_tokens]),
        ]
        return torch.cat([*(token.expand(patches.shape[0], -1, -1) for token in first), patches], 1)

    def encode(self, patches: Tokens) -> AllTokens:
        tokens = self.prefixed(patches)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def attend(self, images: Float32[Tensor, "batch 3 height width"], block: int = -1) -> Attended:
        """What a block compares: by default the last one."""
        *earlier, chosen = list(self.blocks)[: block % len(self.blocks) + 1]
        assert isinstance(chosen, Block)
        tokens = self.prefixed(self.embed(images))
        for before in earlier:
            tokens = before(tokens)
        return chosen.attend(tokens)[1]


def whole_patches(size: tuple[int, ...], patch: int) -> tuple[int, int]:
    """(rows, columns) of patches. Raises InputError for an image that they do not fill."""
    height, width = size
    if height % patch or width % patch or not height or not width:
        fitting = f"{max(height // patch, 1) * patch}x{max(width // patch, 1) * patch}"
        raise InputError(f"vit: {height}x{width} px are not whole patches of {patch} px; crop or resize to {fitting}")
    return height // patch, width // patch


def initialise(module: nn.Module) -> None:
    """Truncated normal weights of sigma 0.02, biases 0, as in DINO's and timm's."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for name, parameter in module.named_parameters():
        if name.rsplit(".", 1)[-1] in ("cls_token", "pos_embed", "register_tokens"):
            nn.init.trunc_normal_(parameter, std=0.02)


# Published weights


def load_published(path: Path, heads: int | None = None) -> VisionTransformer:
    """A network with the weights of a file (safetensors, or torch's own format without code in it).

    Raises InputError for a file that cannot be read or is not of a vision transformer of one of the four layouts.
    """
    return from_published(read_published(path), path, heads)


def from_published(weights: Any, path: Path, heads: int | None = None) -> VisionTransformer:
    """A network with weights as DINO, DINOv2, MAE or timm publish them; None: heads of 64, as all published have."""
    named = own_names(weights) if isinstance(weights, dict) else {}
    for name, axes in {"patch_embed.proj.weight": 4, "pos_embed": 3, "cls_token": 3}.items():
        fits = name in named and named[name].ndim == axes and named[name].numel() > 0
        if not fits:
            what = "of another shape" if name in named else "missing"
            raise InputError(f"{path}: weight {name} is {what}; give the weights of a DINO, DINOv2, MAE or timm ViT")
    config = read_config(named, path, heads)
    if named["pos_embed"].shape[1] == math.prod(config.grid):  # timm leaves the position of CLS out of some
        named["pos_embed"] = torch.cat([torch.zeros_like(named["cls_token"]), named["pos_embed"]], 1)
    network = VisionTransformer(config)
    load_into(network, named, path)
    return network


def own_names(weights: dict[str, Any]) -> dict[str, Tensor]:
    """The encoder's weights by their names here."""
    for wrapper in WRAPPERS:
        if isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]
            break
    named = {name: tensor for name, tensor in weights.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    return {own_name(name): tensor.float() for name, tensor in named.items() if is_of_encoder(without_prefix(name))}


def own_name(name: str) -> str:
    name = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", without_prefix(name))  # DINOv2 trains blocks in chunks
    return "register_tokens" if name == "reg_token" else name


def without_prefix(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def is_of_encoder(name: str) -> bool:
    return not name.startswith(BESIDES)


def read_config(named: dict[str, Tensor], path: Path, heads: int | None) -> Config:
    """What the shapes of the weights say."""
    width, _, patch, _ = named["patch_embed.proj.weight"].shape
    blocks = [int(found[1]) for name in named if (found := re.match(r"blocks\.(\d+)\.", name))]
    hidden, registers = named.get("blocks.0.mlp.fc1.weight"), named.get("register_tokens")
    if hidden is None or hidden.ndim != 2 or not len(hidden):
        raise InputError(f"{path}: weight blocks.0.mlp.fc1.weight is missing; gated MLPs cannot be read")
    if set(blocks) != set(range(len(set(blocks)))):
        raise InputError(f"{path}: has a block {max(blocks)}, but not all before it; give whole weights")
    if named["pos_embed"].shape[2] != width or named["cls_token"].shape != (1, 1, width):
        raise InputError(f"{path}: weights pos_embed and cls_token are not {width} wide, as the patches are")
    if registers is not None and registers.ndim != 3:
        raise InputError(f"{path}: weight register_tokens is of another shape; give whole weights")
    side = math.isqrt(named["pos_embed"].shape[1])
    return Config(
        size=(side * patch, side * patch),
        patch=patch,
        width=width,
        blocks=max(blocks) + 1,
        heads=heads or max(width // PUBLISHED_HEAD_WIDTH, 1),
        hidden_ratio=len(hidden) / width,
        registers=0 if registers is None else registers.shape[1],
        layer_scale=1.0 if "blocks.0.ls1.gamma" in named else None,
        qkv_bias="blocks.0.attn.qkv.bias" in named,
    )
