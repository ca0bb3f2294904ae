"""The network against a slow one written from the papers, its exposed parts, and published layouts of weights."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from firstsight.errors import InputError
from firstsight.nets.vit import Config, VisionTransformer, from_published, load_published

SMALL = Config(size=(16, 24), patch=8, width=24, blocks=2, heads=3)


def network(seed: int = 0, **changes) -> VisionTransformer:
    torch.manual_seed(seed)
    net = VisionTransformer(replace(SMALL, **changes))
    for parameter in net.parameters():  # biases, norms and layer scales as well
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net


def random_images(count: int = 2, size: tuple[int, int] = (16, 24), seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def slow(net: VisionTransformer, image: torch.Tensor) -> torch.Tensor:
    """All tokens of one image, one token and one head at a time."""
    w, config = net.state_dict(), net.config
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    tokens += [] if net.register_tokens is None else list(w["register_tokens"][0])
    normal = (image - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[:, None, None]
    for row in range(config.grid[0]):
        for column in range(config.grid[1]):
            patch = normal[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            token = w["patch_embed.proj.weight"].flatten(1) @ patch.flatten() + w["patch_embed.proj.bias"]
            tokens.append(token + w["pos_embed"][0, 1 + row * config.grid[1] + column])
    for i in range(config.blocks):
        part = {
            name.removeprefix(f"blocks.{i}."): value for name, value in w.items() if name.startswith(f"blocks.{i}.")
        }
        tokens = slow_block(part, tokens, config.heads)
    return torch.stack([F.layer_norm(t, t.shape, w["norm.weight"], w["norm.bias"], 1e-6) for t in tokens])


def slow_block(w: dict[str, torch.Tensor], tokens: list[torch.Tensor], heads: int) -> list[torch.Tensor]:
    width, size = len(tokens[0]), len(tokens[0]) // heads
    normed = [F.layer_norm(t, t.shape, w["norm1.weight"], w["norm1.bias"], 1e-6) for t in tokens]
    q, k, v = zip(*[(w["attn.qkv.weight"] @ t + w["attn.qkv.bias"]).split(width) for t in normed], strict=True)
    done = []
    for i, token in enumerate(tokens):
        merged = []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            scores = torch.stack([q[i][own] @ other[own] / math.sqrt(size) for other in k]).exp()
            merged.append(sum(s * other[own] for s, other in zip(scores / scores.sum(), v, strict=True)))
        update = w["attn.proj.weight"] @ torch.cat(merged) + w["attn.proj.bias"]
        token = token + w.get("ls1.gamma", 1.0) * update
        inner = F.layer_norm(token, token.shape, w["norm2.weight"], w["norm2.bias"], 1e-6)
        inner = F.gelu(w["mlp.fc1.weight"] @ inner + w["mlp.fc1.bias"])
        done.append(token + w.get("ls2.gamma", 1.0) * (w["mlp.fc2.weight"] @ inner + w["mlp.fc2.bias"]))
    return done


@pytest.mark.parametrize("changes", [{}, {"registers": 2, "layer_scale": 0.5}], ids=["plain", "registers, layer scale"])
def test_equation(changes):
    net, images = network(**changes), random_images()
    expected = torch.stack([slow(net, image) for image in images])
    cls, patches = net(images)
    assert torch.allclose(cls, expected[:, 0], atol=1e-5)
    assert torch.allclose(patches.flatten(2).transpose(1, 2), expected[:, net.prefix :], atol=1e-5)


def test_the_explicit_path_is_the_fused_one():
    net, tokens = network(registers=1), torch.randn(3, 7, 24)
    for block in net.blocks:
        update, attended = block.attn.attend(tokens)
        assert torch.allclose(update, block.attn(tokens), atol=1e-6)
        assert torch.allclose(block.attend(tokens)[0], block(tokens), atol=1e-6)
        assert torch.allclose(attended.attention.sum(-1), torch.ones(3, 3, 7), atol=1e-6)
        assert torch.allclose(
            (attended.attention @ attended.value), F.scaled_dot_product_attention(*attended[:3]), atol=1e-6
        )


@pytest.mark.parametrize("block", [0, 1, -1])
def test_attend_is_of_the_block_that_is_asked_for(block):
    net, images = network(), random_images()
    seen = {}
    handles = [
        b.attn.register_forward_pre_hook(lambda _, given, i=i: seen.update({i: given[0]}))
        for i, b in enumerate(net.blocks)
    ]
    net(images)
    for handle in handles:
        handle.remove()
    key = net.blocks[block].attn.split(seen[block % 2])[1]
    assert torch.allclose(net.attend(images, block).key, key, atol=1e-6)


@pytest.mark.parametrize("size", [(96, 96), (64, 32), (24, 40)])
def test_positions_on_another_grid(size):
    net = network(size=(48, 48))
    assert torch.equal(net.positions(6, 6), net.pos_embed[:, 1:])
    rows, columns = size[0] // 8, size[1] // 8
    learned = net.pos_embed[0, 1:].detach().unflatten(0, (6, 6)).numpy()
    expected = np.stack(
        [cv2.resize(channel, (columns, rows), interpolation=cv2.INTER_CUBIC) for channel in learned.transpose(2, 0, 1)]
    )
    assert torch.allclose(
        net.positions(rows, columns)[0].T.unflatten(1, (rows, columns)), torch.from_numpy(expected), atol=1e-5
    )
    assert net(random_images(size=size)).patches.shape == (2, 24, rows, columns)


def test_images_are_normalised():
    net, images = network(), random_images()
    by_hand = VisionTransformer(replace(SMALL, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    by_hand.load_state_dict(net.state_dict())
    assert torch.allclose(net(images).cls, by_hand((images - net.mean) / net.std).cls, atol=1e-6)


def test_patches_may_be_left_out_before_encoding():
    net, images = network(), random_images()
    patches = net.embed(images)
    order = torch.tensor([4, 0, 2, 5, 1, 3])
    assert torch.allclose(net.encode(patches[:, order])[:, 1:], net.encode(patches)[:, 1:][:, order], atol=1e-5)
    assert net.encode(patches[:, :2]).shape == (2, 3, 24)


def test_gradients():
    net = network(registers=2, layer_scale=0.1).double()
    image = random_images(1).double().requires_grad_()
    for name in ("mean", "std"):
        setattr(net, name, getattr(net, name).double())

    def cls(image):
        return net.encode(net.patch_embed(image).flatten(2).transpose(1, 2) + net.positions(2, 3))[:, 0]

    assert torch.autograd.gradcheck(cls, image, fast_mode=True)
    net.zero_grad()
    cls(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


# Published layouts


def layout(net: VisionTransformer, name: str) -> dict:
    """The network's weights as others publish them."""
    w = {k: v.clone() for k, v in net.state_dict().items()}
    if name == "dino":
        backbone = {f"module.backbone.{k}": v for k, v in w.items()} | {"module.head.mlp.0.weight": torch.zeros(2, 2)}
        return {"student": {k: torch.zeros_like(v) for k, v in backbone.items()}, "teacher": backbone, "epoch": 7}
    if name == "dinov2":
        return w | {"mask_token": torch.zeros(1, 24)}
    if name == "dinov2, in training":
        chunked = {k.replace("blocks.", "blocks.0.", 1) if k.startswith("blocks.0") else k: v for k, v in w.items()}
        chunked = {k.replace("blocks.1.", "blocks.1.1.", 1): v for k, v in chunked.items()}
        return {"teacher": {f"backbone.{k}": v for k, v in chunked.items()} | {"dino_head.mlp.0.bias": torch.zeros(2)}}
    if name == "mae":
        beside = {
            "mask_token": torch.zeros(1, 1, 8),
            "decoder_embed.weight": torch.zeros(8, 24),
            "decoder_blocks.0.norm1.bias": torch.zeros(8),
        }
        return {"model": w | beside}
    registers = {"reg_token": w.pop("register_tokens")} if "register_tokens" in w else {}
    if registers:  # timm: no position for CLS where there are registers
        w["cls_token"] = w["cls_token"] + w["pos_embed"][:, :1]
        w["pos_embed"] = w["pos_embed"][:, 1:]
    return w | registers | {"head.weight": torch.zeros(10, 24), "head.bias": torch.zeros(10)}


LAYOUTS = {
    "dino": {},
    "dinov2": {"layer_scale": 0.5, "registers": 4, "patch": 14, "size": (56, 56)},
    "dinov2, in training": {"layer_scale": 0.5},
    "mae": {},
    "timm": {},
    "timm, registers": {"layer_scale": 0.5, "registers": 4},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts(name, tmp_path):
    net = network(**{"size": (32, 32), **LAYOUTS[name]})
    images = random_images(size=net.config.size)
    read = from_published(layout(net, name.split(", r")[0]), tmp_path, heads=3)
    assert read.config.grid == net.config.grid
    assert torch.allclose(read(images).cls, net(images).cls, atol=1e-6)


def test_files_of_weights(tmp_path):
    net = network(size=(32, 32), width=128, heads=2)
    torch.save(layout(net, "dino"), tmp_path / "dino.pth")
    save_file(layout(net, "dinov2"), tmp_path / "dinov2.safetensors")
    for name in ("dino.pth", "dinov2.safetensors"):
        read = load_published(tmp_path / name)
        assert read.config.heads == 2
        assert torch.equal(read(random_images(size=(32, 32))).cls, net(random_images(size=(32, 32))).cls)


def test_files_that_cannot_be_used_are_one_line(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.pth: not a file of weights alone"):
        load_published(tmp_path / "text.pth")
    with pytest.raises(InputError, match=r"none\.pth: missing"):
        load_published(tmp_path / "none.pth")
    weights = layout(network(size=(32, 32)), "timm")
    with pytest.raises(InputError, match=r"weight pos_embed is missing; give the weights of a DINO"):
        from_published({k: v for k, v in weights.items() if k != "pos_embed"}, tmp_path, 3)
    with pytest.raises(InputError, match=r"weight blocks\.1\.norm2\.bias is missing"):
        from_published({k: v for k, v in weights.items() if k != "blocks.1.norm2.bias"}, tmp_path, 3)
    with pytest.raises(InputError, match=r"weight blocks\.0\.attn\.q_norm\.weight is not one"):
        from_published(weights | {"blocks.0.attn.q_norm.weight": torch.ones(8)}, tmp_path, 3)
    gated = {k.replace("fc1", "w12"): v for k, v in weights.items()}
    with pytest.raises(InputError, match="gated MLPs"):
        from_published(gated, tmp_path, 3)


def test_sizes_that_patches_do_not_fill():
    with pytest.raises(InputError, match="20x24 px are not whole patches of 8 px; crop or resize to 16x24"):
        network()(random_images(size=(20, 24)))
    with pytest.raises(InputError, match="a width of 24 cannot be shared by 5 heads"):
        network(heads=5)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda weights: [1, 2], "weight patch_embed.proj.weight is missing"),
        (lambda weights: weights | {"pos_embed": torch.zeros(7)}, "weight pos_embed is of another shape"),
        (lambda weights: weights | {"pos_embed": 3}, "weight pos_embed is missing"),
        (lambda weights: weights | {"cls_token": torch.zeros(1, 1, 9)}, "weights pos_embed and cls_token are not 24"),
        (lambda weights: weights | {"blocks.999999999.norm1.bias": torch.zeros(24)}, "has a block 999999999, but not"),
        (lambda weights: weights | {"norm.bias": torch.full((24,), torch.nan)}, "weight norm.bias is not finite"),
    ],
)
def test_damaged_weights_are_one_line(tmp_path, change, line):
    torch.save(change(network(size=(16, 16)).state_dict()), tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth: {line}"):
        load_published(tmp_path / "w.pth", heads=3)


def test_what_is_no_file_of_weights_is_one_line(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"\x80\x02cfoo\nb\xffr\n.")
    with pytest.raises(InputError, match=r"w\.pth: not a file of weights alone"):
        load_published(tmp_path / "w.pth")
