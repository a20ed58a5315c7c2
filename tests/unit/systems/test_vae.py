"""The variational autoencoder: its two terms by hand, its step, and where its noise comes from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from harness.config import parse
from harness.data import Facts
from harness.systems import generate
from harness.systems.vae import VAE, VAEConfig

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "batch_size": 4,
    "latent_dim": 3,
    "encoder_width": 5,
    "encoder_depth": 1,
    "decoder_width": 5,
    "decoder_depth": 1,
    "decoder_norm": "none",
}
LIKELIHOODS = ["bernoulli", "gaussian"]

Advance = Callable[..., dict[str, Tensor]]
Batches = Callable[..., Tensor]


def make(**changes: Any) -> VAE:
    config = parse(VAEConfig, SMALL | changes, "test")
    vae = VAE(config, Facts(sample_shape=(1, 8, 8)), torch.device("cpu"))
    with torch.no_grad():  # away from the small weights of the start, so that all terms matter
        for network in vae.networks.values():
            for weight in network.parameters():
                weight.mul_(2)
    return vae


def noise_of(vae: VAE, *shape: int) -> Tensor:
    """Return what the next draw from the "posterior" stream will be."""
    stream = torch.Generator()
    stream.set_state(vae.random["posterior"].get_state())
    return torch.randn(shape, generator=stream)


def by_hand(
    config: VAEConfig, encoder: nn.Module, decoder: nn.Module, images: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, reconstruction and divergence from torch.distributions."""
    outputs = encoder(images)
    half = outputs.shape[1] // 2
    posterior = Independent(Normal(outputs[:, :half], (outputs[:, half:] / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(noise), torch.ones_like(noise)), 1)
    latents = posterior.base_dist.loc + posterior.base_dist.scale * noise
    means = decoder(latents)
    if config.likelihood == "bernoulli":
        pixels = Bernoulli((means + 1) / 2, validate_args=False)  # grey values are no outcomes
        surprise = -pixels.log_prob((images + 1) / 2)
    else:
        surprise = -Normal(means, config.noise_sd).log_prob(images)
    reconstruction = surprise.flatten(1).sum(1).mean()
    divergence = kl_divergence(posterior, prior).mean()
    return reconstruction + config.kl_weight * divergence, reconstruction, divergence


@pytest.mark.parametrize("kl_weight", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_loss_is_that_of_the_distributions(
    advance: Advance, real_batches: Batches, likelihood: str, kl_weight: float
) -> None:
    vae = make(likelihood=likelihood, kl_weight=kl_weight, noise_sd=0.3)
    batch = real_batches(1)
    networks = copy.deepcopy(vae.networks)
    noise = noise_of(vae, 4, 3)
    measures = advance(vae, batch)
    loss, reconstruction, divergence = by_hand(vae.config, *networks.values(), batch[0], noise)
    assert measures["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-5)
    assert measures["divergence"].item() == pytest.approx(divergence.item(), rel=1e-5)
    assert measures["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert divergence > 0.01  # else it would prove little


def test_white_and_black_pixels_are_certain_outcomes(advance: Advance) -> None:
    """With pixels of 0 and 1 the Bernoulli term is a log-likelihood: 64 ln 2 for a fair coin."""
    vae = make(likelihood="bernoulli")
    with torch.no_grad():
        for weight in vae.networks["decoder"].parameters():
            weight.zero_()
    images = torch.ones(4, 1, 8, 8)
    images[:, :, ::2] = -1
    measures = advance(vae, images[None])
    assert measures["reconstruction"].item() == pytest.approx(64 * math.log(2))


@pytest.mark.parametrize("sd", [0.1, 0.5, 2.0])
def test_a_perfect_gaussian_decoder_leaves_the_constant(advance: Advance, sd: float) -> None:
    vae = make(likelihood="gaussian", noise_sd=sd)
    with torch.no_grad():
        for weight in vae.networks["decoder"].parameters():
            weight.zero_()
    measures = advance(vae, torch.zeros(1, 4, 1, 8, 8))
    expected = 64 * math.log(sd * math.sqrt(2 * math.pi))
    assert measures["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_a_posterior_that_is_the_prior_has_no_divergence(
    advance: Advance, real_batches: Batches
) -> None:
    vae = make()
    with torch.no_grad():
        for weight in vae.networks["encoder"].parameters():
            weight.zero_()
    assert advance(vae, real_batches(1))["divergence"].item() == 0


def test_far_pixels_lose_no_precision(advance: Advance) -> None:
    """Where the mean is all but white, a black pixel still costs its log-odds, not infinity."""
    vae = make(likelihood="bernoulli")
    *_, last, _, _ = vae.networks["decoder"]
    with torch.no_grad():
        for weight in vae.networks["decoder"].parameters():
            weight.zero_()
        last.bias.fill_(50.0)  # log-odds 100
    measures = advance(vae, -torch.ones(1, 4, 1, 8, 8))
    assert measures["reconstruction"].item() == pytest.approx(64 * 100)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_step_is_adam_on_that_loss(
    advance: Advance, real_batches: Batches, likelihood: str
) -> None:
    settings = {"lr": 0.01, "adam_beta1": 0.7, "adam_beta2": 0.8}
    vae = make(likelihood=likelihood, **settings)
    networks = copy.deepcopy(vae.networks)
    weights = [weight for network in networks.values() for weight in network.parameters()]
    adam = torch.optim.Adam(weights, 0.01, (0.7, 0.8))
    for number in range(3):
        batch = real_batches(1, number)
        noise = noise_of(vae, 4, 3)
        measures = advance(vae, batch)
        adam.zero_grad()
        loss, *_ = by_hand(vae.config, *networks.values(), batch[0], noise)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.cat([weight.grad.flatten() for weight in weights]).norm()  # type: ignore[union-attr]
        adam.step()
        assert measures["loss"].item() == pytest.approx(loss.item(), rel=1e-4)
        assert measures["grad_norm"].item() == pytest.approx(norm.item(), rel=1e-4)
    got = [weight for network in vae.networks.values() for weight in network.parameters()]
    for ours, theirs in zip(got, weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert vae.counts == {"steps": 3}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_agree_with_differences(likelihood: str) -> None:
    """In float64, of the term that the step uses, by the images and by every latent."""
    vae = make(likelihood=likelihood)
    vae.networks["decoder"].double()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, generator=generator) * 2 - 1
    assert torch.autograd.gradcheck(lambda z: vae._surprise(z, images), (latents,))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_of_a_step_agree_with_differences(
    likelihood: str, monkeypatch: pytest.MonkeyPatch, advance: Advance, real_batches: Batches
) -> None:
    vae = make(likelihood=likelihood)
    for network in vae.networks.values():
        network.double()
    monkeypatch.setattr(vae.optimizers["both"], "step", lambda: None)
    batch = real_batches(1).double()
    start = vae.random["posterior"].get_state()

    def loss() -> float:
        vae.random["posterior"].set_state(start)
        return float(advance(vae, batch)["loss"])

    loss()
    for network in vae.networks.values():
        for weight in network.parameters():
            assert weight.grad is not None
            index = int(weight.grad.abs().argmax())
            expected, small = float(weight.grad.view(-1)[index]), 1e-6
            values = []
            for change in (small, -small):
                weight.data.view(-1)[index] += change
                values.append(loss())
                weight.data.view(-1)[index] -= change
            assert (values[0] - values[1]) / (2 * small) == pytest.approx(expected, rel=1e-4)


def test_the_decoders_image_is_the_mean_of_its_pixels() -> None:
    vae = make()
    decoder = vae.networks["decoder"]
    assert isinstance(decoder, nn.Sequential)
    latents = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        log_odds = 2 * decoder[:-1](latents)
        images = decoder(latents)
    assert log_odds.abs().max() > 0.1
    torch.testing.assert_close(images, 2 * log_odds.sigmoid() - 1)
    # -log p is least in its own mean: there no weight has a gradient, as it has elsewhere.
    weights = list(decoder.parameters())
    for shown, is_least in ((images, True), (images + 0.1, False)):
        gradients = torch.autograd.grad(vae._surprise(latents, shown), weights)
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        assert (largest < 1e-5) is is_least
    assert vae.sampled(vae.config) == "decoder"
    assert generate(decoder.eval(), (latents,)).shape == (6, 1, 8, 8)


def test_noise_comes_from_the_posterior_stream_only(
    advance: Advance, real_batches: Batches
) -> None:
    vae, other = make(), make()
    others = {name: vae.random[name].get_state() for name in VAE.streams if name != "posterior"}
    expected = torch.Generator()
    expected.set_state(vae.random["posterior"].get_state())
    for number in range(3):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        first = advance(vae, real_batches(1, number))
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(number + 10)
        second = advance(other, real_batches(1, number))
        assert all(torch.equal(first[key], second[key]) for key in first)
        torch.randn(4, 3, generator=expected)  # one draw per image and iteration
        assert torch.equal(vae.random["posterior"].get_state(), expected.get_state())
        assert all(torch.equal(vae.random[name].get_state(), others[name]) for name in others)
    shifted = make()
    torch.randn(1, generator=shifted.random["posterior"])
    assert advance(shifted, real_batches(1))["loss"] != advance(make(), real_batches(1))["loss"]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_learns(advance: Advance, real_batches: Batches, likelihood: str) -> None:
    vae = make(likelihood=likelihood, lr=0.01, encoder_width=32, decoder_width=32)
    batch = (real_batches(1) > 0) * 1.8 - 0.9
    first = advance(vae, batch)
    for _ in range(200):
        last = advance(vae, batch)
    assert last["loss"] < first["loss"] - 5
    assert last["reconstruction"] < first["reconstruction"] - 5
