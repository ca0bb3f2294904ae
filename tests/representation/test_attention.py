"""Attention maps: shares, thresholds, the patch that asks, pixels and colours."""

import pytest
import torch

from firstsight.nets.vit import Config, VisionTransformer
from firstsight.representation.attention import (
    at_pixels,
    cls_attention,
    coloured_heads,
    head_colours,
    mass_threshold,
    query_attention,
)


def network(registers: int = 0) -> VisionTransformer:
    torch.manual_seed(0)
    net = VisionTransformer(Config(size=(32, 32), patch=8, width=24, blocks=2, heads=3, registers=registers))
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def random_images(size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("registers", [0, 2])
def test_maps_are_the_rows_of_the_tokens_that_ask(registers):
    net, images = network(registers), random_images((24, 32))
    attention = net.attend(images).attention
    whole, asked = cls_attention(net, images), query_attention(net, images, (1, 2))
    assert whole.shape == asked.shape == (2, 3, 3, 4)
    for row in range(3):
        for column in range(4):
            token = 1 + registers + row * 4 + column
            assert torch.equal(whole[:, :, row, column], attention[:, :, 0, token])
            assert torch.equal(asked[:, :, row, column], attention[:, :, 1 + registers + 1 * 4 + 2, token])
    left_out = attention[:, :, 0, : net.prefix].sum(-1)
    assert torch.allclose(whole.sum((2, 3)), 1 - left_out, atol=1e-6)
    assert not torch.allclose(cls_attention(net, images, block=0), whole)


def test_what_a_patch_asks_moves_with_the_image():
    """Without positions nothing tells patches apart but their pixels."""
    net, images = network(), random_images()
    net.pos_embed.data.zero_()
    shifted = images.roll((8, -16), (2, 3))
    asked = query_attention(net, images, (1, 3))
    assert torch.allclose(query_attention(net, shifted, (2, 1)), asked.roll((1, -2), (2, 3)), atol=1e-5)


def test_the_fewest_patches_that_hold_a_share():
    maps = torch.tensor([[0.05, 0.4, 0.1], [0.2, 0.25, 0.0]])[None, None]
    expected = {0.3: [(0, 1)], 0.39: [(0, 1)], 0.5: [(0, 1), (1, 1)], 0.8: [(0, 1), (1, 1), (1, 0)]}
    for share, places in expected.items():
        assert mass_threshold(maps, share)[0, 0].nonzero().tolist() == sorted(map(list, places)), share


def test_the_share_is_held_and_with_one_patch_less_it_is_not():
    maps = cls_attention(network(), random_images())
    kept = mass_threshold(maps, 0.6)
    total = maps.sum((2, 3))
    held = torch.where(kept, maps, 0.0).sum((2, 3))
    least = torch.where(kept, maps, torch.inf).amin((2, 3))
    assert (held >= 0.6 * total - 1e-6).all()
    assert (held - least < 0.6 * total).all()
    assert torch.equal(mass_threshold(3 * maps, 0.6), kept)


def test_every_pixel_gets_its_patchs_value():
    maps = torch.rand(1, 2, 3, 4)
    pixels = at_pixels(maps, 8)
    assert pixels.shape == (1, 2, 24, 32)
    for row, column in ((0, 0), (7, 8), (23, 31), (9, 17)):
        assert torch.equal(pixels[0, :, row, column], maps[0, :, row // 8, column // 8])


def test_colours_are_of_the_head_that_looks_most():
    """Golden: two heads that look at one patch each, on black."""
    maps = torch.tensor([[[[0.9, 0.1], [0.0, 0.0]], [[0.05, 0.05], [0.0, 0.9]]]])
    drawn = coloured_heads(torch.zeros(1, 3, 4, 4), maps, 0.5, 2)
    first, second = 0.65 * head_colours(2)
    black = torch.zeros(3)
    for row, column, colour in ((0, 0, first), (1, 1, first), (0, 2, black), (2, 0, black), (3, 3, second)):
        assert torch.allclose(drawn[0, :, row, column], colour), (row, column)


def test_colours_of_heads_lie_apart():
    colours = head_colours(6)
    gaps = torch.cdist(colours, colours) + 9 * torch.eye(6)
    assert gaps.min() > 0.5
