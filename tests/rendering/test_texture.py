"""The sampler against its readable twin, against torch's own and on textures whose colours are known everywhere."""

import pytest
import torch
from torch.nn.functional import grid_sample

from rendering.reference.texture import sample_texture as twin
from rendering.texture import mipmaps, sample_texture

WRAPS = ["clamp", "repeat"]
CASES = [((7, 12, 3), False), ((16, 16, 4), True), ((1, 9, 1), False), ((5, 1, 2), True), ((1, 1, 3), False)]


def random(seed, *shape, device="cpu"):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


def case(shape, own, device, size_hw=(9, 8)):
    """Two views with coordinates in and around the texture and footprints of all levels."""
    texture = random(0, *([2] if own else []), *shape, device=device).requires_grad_()
    uv = (1.6 * random(1, 2, *size_hw, 2, device=device) - 0.3).requires_grad_()
    derivatives = ((2 * random(2, 2, *size_hw, 2, 2, device=device) - 1) ** 3).requires_grad_()
    return texture, uv, derivatives


def ramp(height, width, device):
    """A texture that holds the u and v of its texel centres."""
    u = (torch.arange(width, device=device).double() + 0.5) / width
    v = 1 - (torch.arange(height, device=device).double() + 0.5) / height
    return torch.stack([u.expand(height, -1), v[:, None].expand(-1, width)], -1)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("mipmapped", [False, True])
@pytest.mark.parametrize(("shape", "own"), CASES)
def test_colours_and_gradients_are_the_twins(shape, own, mipmapped, wrap, device):
    texture, uv, derivatives = case(shape, own, device)
    steps = derivatives if mipmapped else None
    found = sample_texture(texture, uv, uv_derivatives=steps, wrap=wrap)
    expected = twin(texture, uv, uv_derivatives=steps, wrap=wrap)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    inputs = [texture, uv, derivatives][: 3 if mipmapped else 2]
    above = random(3, *found.shape, device=device)
    gradients = torch.autograd.grad(found, inputs, above, allow_unused=True)
    # A texture of one texel has no second level, so that its twin knows no gradient of the level.
    wanted = torch.autograd.grad(expected, inputs, above, allow_unused=True)
    for ours, its in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if its is None else its, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("own", [False, True])
def test_gradcheck(own, wrap, device):
    texture, uv, derivatives = case((7, 5, 2), own, device, (3, 3))

    def values(texture, uv, derivatives):
        return (
            sample_texture(texture, uv, wrap=wrap),
            sample_texture(texture, uv, uv_derivatives=derivatives, wrap=wrap),
        )

    assert torch.autograd.gradcheck(values, (texture, uv, derivatives), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bilinear_is_torchs(dtype, device):
    texture, uv, _ = (x.detach().to(dtype).requires_grad_() for x in case((33, 20, 3), False, device, (40, 30)))
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    planes = texture.permute(2, 0, 1).expand(2, -1, -1, -1)
    expected = grid_sample(planes, grid, align_corners=False, padding_mode="border").permute(0, 2, 3, 1)
    found = sample_texture(texture, uv)
    torch.testing.assert_close(found, expected)
    above = random(3, *found.shape, device=device).to(dtype)
    gradients = torch.autograd.grad(found, [texture, uv], above)
    wanted = torch.autograd.grad(expected, [texture, uv], above)
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


def test_single_precision_is_close_to_double(device):
    exact = [x.detach().requires_grad_() for x in case((16, 24, 3), True, device, (40, 30))]
    coarse = [x.detach().float().requires_grad_() for x in exact]
    double, single = (
        sample_texture(texture, uv, uv_derivatives=derivatives) for texture, uv, derivatives in (exact, coarse)
    )
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)
    above = random(3, *double.shape, device=device)
    for ours, its in zip(
        torch.autograd.grad(single, coarse, above.float()), torch.autograd.grad(double, exact, above), strict=True
    ):
        assert (ours - its).norm() < 1e-3 * its.norm()


@pytest.mark.parametrize("own", [False, True])
def test_same_bits_on_every_run_and_on_any_number_of_threads(own):
    texture, uv, derivatives = case((70, 90, 3), own, "cpu", (70, 60))
    inputs = [x.detach().float().requires_grad_() for x in (texture, uv, 0.1 * derivatives)]
    runs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            colour = sample_texture(inputs[0], inputs[1], uv_derivatives=inputs[2])
            runs.append([colour, *torch.autograd.grad(colour, inputs, random(3, *colour.shape).float())])
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("level", [None, 0.0, 1.0, 1.7, 2.3])
def test_a_ramp_gives_its_coordinates_back(level, device):
    uv = 0.3 + 0.4 * random(0, 6, 5, 2, device=device)  # farther from the border than half a texel of level 3
    step = 2 ** (level or 0) / 16
    steps = torch.tensor([[step * 0.6, 0.01], [step * 0.8, -0.02]], device=device).double().expand(6, 5, 2, 2)
    found = sample_texture(ramp(16, 16, device), uv, uv_derivatives=None if level is None else steps)
    torch.testing.assert_close(found, uv)


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_constant_stays_constant_at_every_level(wrap, device):
    _, uv, derivatives = case((1, 1, 1), False, device, (20, 20))
    colour = sample_texture(
        torch.full((13, 6, 3), 0.7, device=device).double(), uv, uv_derivatives=derivatives, wrap=wrap
    )
    torch.testing.assert_close(colour, torch.full_like(colour, 0.7))


def test_a_minified_checkerboard_is_grey_and_would_alias_without_levels(device):
    squares = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()[..., None].to(device)
    centres = (torch.arange(8, device=device).float() + 0.5) / 8 + 0.5 / 64
    uv = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
    steps = (torch.eye(2, device=device) / 8).expand(8, 8, 2, 2)
    assert sample_texture(squares, uv, uv_derivatives=steps).eq(0.5).all()
    assert not sample_texture(squares, uv).eq(0.5).any()


def test_mipmaps_are_box_averages(device):
    pyramid = mipmaps(torch.arange(35, device=device).double().reshape(1, 5, 7, 1))
    assert pyramid[0, 35:, 0].tolist() == [4, 6, 8, 18, 20, 22, 12]
    narrow = mipmaps(torch.arange(8, device=device).double().reshape(1, 1, 8, 1))
    assert narrow[0, 8:, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 1.5, 5.5, 3.5]


def test_no_footprint_is_level_0_with_a_gradient_of_0(device):
    texture, uv, derivatives = case((8, 8, 3), False, device)
    none = torch.zeros_like(derivatives).requires_grad_()
    colour = sample_texture(texture, uv, uv_derivatives=none)
    assert torch.equal(colour, sample_texture(texture, uv))
    assert torch.autograd.grad(colour.sum(), none)[0].eq(0).all()


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (1, 1)])
def test_small_pictures(shape, device):
    texture, uv, derivatives = case((1, 1, 3), False, device, shape)
    colour = sample_texture(texture, uv, uv_derivatives=derivatives)
    torch.testing.assert_close(colour, texture.expand(2, *shape, 3))
    of_texture, of_uv = torch.autograd.grad(colour.sum(), [texture, uv])
    assert of_texture.eq(2 * shape[0] * shape[1]).all() and of_uv.eq(0).all()


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf"), 3e38, -3e38])
def test_coordinates_that_are_no_place_read_nothing_outside(broken, wrap, device):
    texture, uv, derivatives = (x.detach().float().requires_grad_() for x in case((8, 6, 3), False, device))
    with torch.no_grad():
        uv[0, 0, 0, 0] = uv[1, 2, 3, 1] = derivatives[0, 4, 4, 0, 0] = derivatives[1, 5, 5] = broken
    colour = sample_texture(texture, uv, uv_derivatives=derivatives, wrap=wrap)
    torch.autograd.grad(colour.sum(), [texture, uv, derivatives])
    sound = torch.ones(colour.shape[:-1], dtype=torch.bool, device=device)
    sound[0, 0, 0] = sound[1, 2, 3] = False
    assert ((colour[sound] >= 0) & (colour[sound] <= 1 + 1e-6)).all()
    if broken != broken:
        assert colour[~sound].isnan().all()


def test_wrong_arguments_are_named():
    texture, uv, derivatives = (x.detach() for x in case((8, 6, 3), True, "cpu"))
    with pytest.raises(ValueError, match=r"uv is torch.float32, the texture torch.float64"):
        sample_texture(texture, uv.float())
    with pytest.raises(ValueError, match="uv_derivatives is on meta, the texture on cpu"):
        sample_texture(texture, uv, uv_derivatives=derivatives.to("meta"))
    with pytest.raises(ValueError, match=r"float32 or float64, not torch.float16"):
        sample_texture(texture.half(), uv.half())
    with pytest.raises(ValueError, match=r"batch axes \(2,\), uv \(3,\)"):
        sample_texture(texture, uv[:1].expand(3, -1, -1, -1))
    with pytest.raises(ValueError, match="at least one texel"):
        sample_texture(texture[0, :0], uv)
