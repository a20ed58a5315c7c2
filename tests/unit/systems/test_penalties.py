"""Gradient penalties against discriminators whose gradients are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.systems.gan.penalties import PENALTIES, Penalty, squared_gradient_norms

NAMES = ["gradient", "gradient_one_sided", "dragan", "r1", "r2", "r1_r2"]
NORM_PENALTIES = ["gradient", "gradient_one_sided", "dragan"]
RANDOM = NORM_PENALTIES


class Linear(nn.Module):
    """D(x) = <w, x>, so that ∇D(x) = w everywhere."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.unsqueeze(1)


class Quadratic(nn.Module):
    """D(x) = ½‖x‖², so that ∇D(x) = x; remembers its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images.detach())
        return images.flatten(1).square().sum(1, keepdim=True) / 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair_of_batches() -> tuple[Tensor, Tensor]:
    real, fake = torch.rand(2, 6, 1, 4, 4, generator=generator(1)) * 2 - 1
    return real, fake


def get(name: str) -> Penalty:
    penalty = PENALTIES[name]
    assert penalty is not None
    return penalty


# ‖(3, 4)‖ = 5 and ‖(0.3, 0.4)‖ = 0.5
@pytest.mark.parametrize(
    ("name", "above", "below"),
    [
        ("gradient", 16.0, 0.25),  # (5 - 1)², (0.5 - 1)²
        ("gradient_one_sided", 16.0, 0.0),  # max(0, 0.5 - 1)² = 0
        ("dragan", 16.0, 0.25),
        ("r1", 12.5, 0.125),  # 5² / 2, 0.5² / 2
        ("r2", 12.5, 0.125),
        ("r1_r2", 25.0, 0.25),
    ],
)
def test_linear_discriminator_has_hand_values(name: str, above: float, below: float) -> None:
    real, fake = torch.randn(2, 3, 1, 1, 2, generator=generator())
    for weight, expected in (([3.0, 4.0], above), ([0.3, 0.4], below)):
        value = get(name)(Linear(weight), real, fake, generator())
        assert value.shape == ()
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_squared_norms_are_one_per_sample() -> None:
    images = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]).view(3, 1, 1, 2)
    norms = squared_gradient_norms(Quadratic(), images)
    assert norms.tolist() == [25.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Over the whole batch the norm would be √26: (√26 - 1)² = 16.8.
        ("gradient", 8.0),  # ((5 - 1)² + (1 - 1)²) / 2
        ("gradient_one_sided", 8.0),
        ("r1", 6.5),  # (25 + 1) / 2 / 2
        ("r2", 6.5),
        ("r1_r2", 13.0),
    ],
)
def test_norms_are_per_sample(name: str, expected: float) -> None:
    images = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 1, 1, 2)  # gradients of norm 5 and 1
    value = get(name)(Quadratic(), images, images, generator())
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NORM_PENALTIES)
def test_norms_are_per_sample_at_the_drawn_points(name: str) -> None:
    real, fake = pair_of_batches()
    discriminator = Quadratic()
    value = get(name)(discriminator, real, fake, generator())
    excess = [point.norm().item() - 1 for point in discriminator.inputs[0]]
    if name == "gradient_one_sided":
        excess = [max(0.0, each) for each in excess]
    assert value.item() == pytest.approx(sum(e**2 for e in excess) / len(excess), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradient", [4.8, 6.4]),  # 2 (‖w‖ - 1) w / ‖w‖ = 8 (0.6, 0.8)
        ("gradient_one_sided", [4.8, 6.4]),
        ("dragan", [4.8, 6.4]),
        ("r1", [3.0, 4.0]),  # w
        ("r2", [3.0, 4.0]),
        ("r1_r2", [6.0, 8.0]),
    ],
)
def test_gradient_reaches_the_discriminators_parameters(name: str, expected: list[float]) -> None:
    real, fake = torch.randn(2, 3, 1, 1, 2, generator=generator())
    discriminator = Linear([3.0, 4.0])
    get(name)(discriminator, real, fake, generator()).backward()
    assert discriminator.weight.grad is not None
    assert discriminator.weight.grad.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_vanishing_gradient_makes_no_nan(name: str) -> None:
    real, fake = torch.randn(2, 3, 1, 1, 2, generator=generator())
    discriminator = Linear([0.0, 0.0])
    value = get(name)(discriminator, real, fake, generator())
    value.backward()
    expected = 1.0 if name in ("gradient", "dragan") else 0.0
    assert value.item() == pytest.approx(expected, abs=1e-5)
    assert discriminator.weight.grad is not None
    assert discriminator.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", ["gradient", "gradient_one_sided"])
def test_points_lie_between_real_and_fake_with_one_mix_per_sample(name: str) -> None:
    real, fake = pair_of_batches()
    discriminator = Quadratic()
    get(name)(discriminator, real, fake, generator())
    (points,) = discriminator.inputs
    assert points.shape == real.shape
    mixes = ((points - real) / (fake - real)).flatten(1)
    per_sample = mixes.median(1, keepdim=True).values
    assert (mixes - per_sample).abs().max() < 1e-3
    assert per_sample.min() >= 0
    assert per_sample.max() <= 1
    assert len({round(mix, 3) for mix in per_sample.flatten().tolist()}) == len(real)


def test_mixes_fill_the_whole_segment() -> None:
    real, fake = torch.zeros(4000, 1, 1, 1), torch.ones(4000, 1, 1, 1)
    discriminator = Quadratic()
    get("gradient")(discriminator, real, fake, generator())
    (mixes,) = discriminator.inputs  # U(0, 1): mean 1/2 with standard error 0.0046
    assert mixes.mean().item() == pytest.approx(0.5, abs=0.02)
    assert mixes.min() < 0.01
    assert mixes.max() > 0.99


def test_dragan_perturbs_real_images_by_half_their_deviation() -> None:
    real, fake = pair_of_batches()
    discriminator = Quadratic()
    get("dragan")(discriminator, real, fake * float("nan"), generator())
    (points,) = discriminator.inputs
    values = real.flatten().tolist()
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    noise = (points - real) / (0.5 * deviation)
    assert noise.min() > -1e-5
    assert noise.max() < 1 + 1e-5
    assert noise.mean().item() == pytest.approx(0.5, abs=0.1)
    assert noise.std(unbiased=False).item() == pytest.approx(12**-0.5, abs=0.05)  # per pixel


@pytest.mark.parametrize(("name", "index"), [("r1", 0), ("r2", 1)])
def test_r1_looks_at_real_and_r2_at_fake_images_only(name: str, index: int) -> None:
    batches = list(pair_of_batches())
    batches[1 - index] = batches[1 - index] * float("nan")
    discriminator = Quadratic()
    value = get(name)(discriminator, batches[0], batches[1], generator())
    assert value.isfinite()
    assert torch.equal(discriminator.inputs[0], batches[index])


@pytest.mark.parametrize("name", NAMES)
def test_draws_from_the_given_generator_only(name: str) -> None:
    real, fake = pair_of_batches()
    before = torch.get_rng_state()
    values = [get(name)(Quadratic(), real, fake, generator(seed)).item() for seed in (5, 5, 6)]
    assert torch.equal(torch.get_rng_state(), before)
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (name in RANDOM)


# --- R1 and R2 together (R3GAN) -------------------------------------------------------------------


def test_both_at_once_have_hand_values() -> None:
    real, fake = torch.randn(2, 3, 1, 1, 2, generator=generator())
    discriminator = Linear([3.0, 4.0])
    value = get("r1_r2")(discriminator, real, fake, generator())
    assert value.item() == pytest.approx(25, rel=1e-5)  # 5² / 2 twice
    value.backward()
    assert discriminator.weight.grad is not None
    assert discriminator.weight.grad.tolist() == pytest.approx([6.0, 8.0], rel=1e-5)  # 2 w


def test_both_at_once_are_per_sample_and_at_their_own_images() -> None:
    real = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 1, 1, 2)  # gradients of norm 5 and 1
    fake = torch.tensor([[0.0, 2.0], [6.0, 8.0]]).view(2, 1, 1, 2)  # 2 and 10
    discriminator = Quadratic()
    value = get("r1_r2")(discriminator, real, fake, generator())
    assert value.item() == pytest.approx((25 + 1) / 4 + (4 + 100) / 4)
    assert [torch.equal(a, b) for a, b in zip(discriminator.inputs, (real, fake), strict=True)]
    apart = [get(name)(Quadratic(), real, fake, generator()) for name in ("r1", "r2")]
    assert value.item() == (apart[0] + apart[1]).item()


def test_both_at_once_draw_nothing_and_survive_vanishing_gradients() -> None:
    real, fake = pair_of_batches()
    source = generator()
    before = source.get_state()
    discriminator = Linear([0.0] * 16)
    value = get("r1_r2")(discriminator, real, fake, source)
    value.backward()
    assert value.item() == 0
    assert discriminator.weight.grad is not None
    assert discriminator.weight.grad.isfinite().all()
    assert torch.equal(source.get_state(), before)


# --- all of them, on a discriminator that is bent -------------------------------------------------


class Bent(nn.Module):
    """D(x) = <v, tanh(W x)>, whose gradient is Wᵀ (v (1 - tanh²(W x)))."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.matrix, self.vector = weights[:8].view(2, 4), weights[8:]

    def forward(self, images: Tensor) -> Tensor:
        return ((images.flatten(1) @ self.matrix.T).tanh() @ self.vector).unsqueeze(1)

    def slope(self, image: Tensor) -> Tensor:
        """Return the gradient at one image, written out."""
        bend = 1 - (self.matrix @ image.flatten()).tanh().square()
        return self.matrix.T @ (self.vector * bend)


def bent_case() -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.randn(10 + 2 * 12, generator=generator(7), dtype=torch.float64)
    return draws[:10], draws[10:22].view(3, 1, 2, 2), draws[22:].view(3, 1, 2, 2)


@pytest.mark.parametrize("name", [*NAMES, "r1_r2"])
def test_gradients_by_ds_weights_equal_finite_differences(name: str) -> None:
    weights, real, fake = bent_case()
    assert torch.autograd.gradcheck(
        lambda each: get(name)(Bent(each), real, fake, generator()), weights.requires_grad_(True)
    )


@pytest.mark.parametrize("name", [*NAMES, "r1_r2"])
def test_values_equal_gradients_written_out_image_by_image(name: str) -> None:
    weights, real, fake = bent_case()
    discriminator = Bent(weights)
    points: list[Tensor] = []
    discriminator.register_forward_pre_hook(lambda _, args: points.extend(args[0].detach()))
    value = get(name)(discriminator, real, fake, generator()).item()
    norms = [discriminator.slope(point).norm().item() for point in points]
    terms = {
        "gradient": lambda norm: (norm - 1) ** 2,
        "gradient_one_sided": lambda norm: max(0.0, norm - 1) ** 2,
        "dragan": lambda norm: (norm - 1) ** 2,
    }
    term = terms.get(name, lambda norm: norm**2 / 2)
    assert value == pytest.approx(sum(map(term, norms)) / len(real), rel=1e-9)


@pytest.mark.parametrize("name", [*NAMES, "r1_r2"])
def test_images_get_no_gradient(name: str) -> None:
    """A penalty is for D: what made the generated images does not learn from it."""
    weights, real, fake = bent_case()
    fake = fake.requires_grad_(True)
    value = get(name)(Bent(weights.requires_grad_(True)), real, fake, generator())
    assert torch.autograd.grad(value, fake, allow_unused=True) == (None,)
