"""Textures whose colours are known everywhere, and gradients."""

import pytest
import torch
from torch.autograd import gradcheck

from rendering.reference.texture import mip_level, mip_pyramid, sample_texture


def ramp(height: int, width: int):
    """A texture that holds the u and v of its texel centres."""
    u = (torch.arange(width).double() + 0.5) / width
    v = 1 - (torch.arange(height).double() + 0.5) / height
    return torch.stack([u.expand(height, -1), v[:, None].expand(-1, width)], -1)


def random(seed: int, *shape: int):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_ramp_gives_its_coordinates_back():
    uv = 0.1 + 0.8 * random(0, 6, 5, 2)
    torch.testing.assert_close(sample_texture(ramp(9, 12), uv), uv)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.7, 2.3])
def test_a_ramp_gives_its_coordinates_back_at_every_level(level):
    uv = 0.3 + 0.4 * random(1, 6, 5, 2)  # farther from the border than half a texel of the coarsest level
    step = 2**level / 16
    derivatives = torch.tensor([[step * 0.6, 0.01], [step * 0.8, -0.02]]).double().expand(6, 5, 2, 2)
    torch.testing.assert_close(sample_texture(ramp(16, 16), uv, uv_derivatives=derivatives), uv)


def test_texels_by_hand():
    texture = torch.tensor([[1.0, 2, 4], [8, 16, 32]]).double()[..., None]
    top_left, bottom_right = [1 / 6, 0.75], [5 / 6, 0.25]
    uv = torch.tensor([[top_left, bottom_right, [0.5, 0.5], [0.0, 1.0]]]).double()
    assert sample_texture(texture, uv)[0, :, 0].tolist() == pytest.approx([1, 32, 9, 1])
    # At the corner repeat averages the four corners of the texture; a whole turn later it is the same colour.
    corner = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [-2.0, 3.0]]]).double()
    assert sample_texture(texture, corner, wrap="repeat")[0, :, 0].tolist() == pytest.approx([45 / 4] * 3)
    assert sample_texture(texture, corner, wrap="clamp")[0, :, 0].tolist() == pytest.approx([1, 32, 1])


def test_levels_are_box_averages():
    pyramid = mip_pyramid(torch.arange(35).double().reshape(1, 5, 7, 1))
    assert [tuple(level.shape[1:3]) for level in pyramid] == [(5, 7), (2, 3), (1, 1)]
    assert pyramid[1][0, ..., 0].tolist() == [[4, 6, 8], [18, 20, 22]]
    assert pyramid[2].item() == 12
    narrow = mip_pyramid(torch.arange(8).double().reshape(1, 1, 8, 1))
    assert [level.flatten().tolist() for level in narrow[1:]] == [[0.5, 2.5, 4.5, 6.5], [1.5, 5.5], [3.5]]


def test_the_longer_footprint_chooses_the_level():
    derivatives = torch.tensor([[[3 / 32, 0.0], [4 / 16, 0.1 / 16]], [[0.0, 4 / 32], [0.0, 0.0]]]).double()
    level = mip_level(derivatives[:, None], (16, 32), 5)
    torch.testing.assert_close(level[:, 0], torch.tensor([5.0, 4.0]).double().log2())
    assert mip_level(1000 * derivatives[:, None], (16, 32), 5).eq(5).all()
    assert mip_level(0.001 * derivatives[:, None], (16, 32), 5).eq(0).all()


@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
def test_a_constant_stays_constant_at_every_level(wrap):
    uv, derivatives = 3 * random(2, 8, 8, 2) - 1, 0.5 * random(3, 8, 8, 2, 2) ** 3
    colour = sample_texture(torch.full((13, 6, 3), 0.7).double(), uv, uv_derivatives=derivatives, wrap=wrap)
    torch.testing.assert_close(colour, torch.full_like(colour, 0.7))


def test_without_footprint_it_is_bilinear_and_gradients_are_finite():
    texture, uv = random(4, 8, 8, 3), random(5, 4, 4, 2)
    derivatives = torch.zeros(4, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    colour = sample_texture(texture, uv, uv_derivatives=derivatives)
    torch.testing.assert_close(colour, sample_texture(texture, uv))
    (gradient,) = torch.autograd.grad(colour.sum(), derivatives)
    assert gradient.eq(0).all()


def test_views_share_a_texture_or_have_their_own():
    textures, uv, derivatives = random(6, 2, 8, 5, 3), random(7, 2, 4, 4, 2), 0.4 * random(8, 2, 4, 4, 2, 2)
    own = sample_texture(textures, uv, uv_derivatives=derivatives)
    for view in range(2):
        shared = sample_texture(textures[view], uv, uv_derivatives=derivatives)
        torch.testing.assert_close(own[view], shared[view])


@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
def test_gradients(wrap):
    texture, uv = random(9, 7, 5, 2), 1.4 * random(10, 3, 3, 2) - 0.2
    derivatives = 0.9 * random(11, 3, 3, 2, 2)

    def sampled(texture, uv, derivatives):
        return (
            sample_texture(texture, uv, wrap=wrap),
            sample_texture(texture, uv, uv_derivatives=derivatives, wrap=wrap),
        )

    levels = mip_level(derivatives, (7, 5), 2)
    assert (levels > 0).any() and (levels < 2).any()
    assert gradcheck(sampled, (texture.requires_grad_(), uv.requires_grad_(), derivatives.requires_grad_()))
