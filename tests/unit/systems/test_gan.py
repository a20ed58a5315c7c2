"""The adversarial game: who learns when, on what, and from which random stream."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from harness.config import parse
from harness.errors import HarnessError
from harness.systems import GANState
from harness.systems.gan import GAN, GANConfig
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
BATCH = 4
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "architecture": "mlp",
    "latent_dim": 3,
    "batch_size": BATCH,
    "g_width": 4,
    "d_width": 4,
    "g_depth": 2,
    "d_depth": 2,
}
OPTIMIZERS = ["adam", "adamw", "rmsprop", "sgd"]


def make(**changes: Any) -> GAN:
    return GAN(parse(GANConfig, SMALL | changes, "test"), SHAPE, CPU)


def real_batches(num: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num, BATCH, *SHAPE, generator=generator) * 2 - 1


def flat(thing: Any, path: str = "") -> dict[str, Any]:
    """Return {path: value} of nested dicts and lists, tensors cloned."""
    if isinstance(thing, dict):
        pairs: Any = thing.items()
    elif isinstance(thing, list | tuple):
        pairs = enumerate(thing)
    else:
        return {path: thing.clone() if isinstance(thing, Tensor) else thing}
    return {k: v for key, each in pairs for k, v in flat(each, f"{path}.{key}").items()}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two results of `flat` are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if isinstance(value, Tensor) else value == second[key]
        for key, value in first.items()
    )


def run(gan: GAN, num: int = 1) -> GANState:
    state = gan.init()
    for index in range(num):
        gan.step(state, real_batches(gan.config.d_steps, index))
    return state


def freeze(optimizer: torch.optim.Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "step", lambda: None)


def inputs_of(module: nn.Module) -> list[Tensor]:
    """Return a list that grows by every input the module is called with."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    return seen


# --- initialisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_init_depends_on_the_seed_only(architecture: str) -> None:
    torch.manual_seed(1)
    first = make(architecture=architecture, g_norm="spectral")
    one = flat(first.state_dict(first.init()))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(flat(first.state_dict(first.init())), one)
    assert torch.equal(torch.get_rng_state(), before)
    other = make(architecture=architecture, g_norm="spectral", seed=1)
    assert not same(flat(other.state_dict(other.init())), one)


def test_networks_are_initialised_apart() -> None:
    narrow, wide = make(d_width=4).init(), make(d_width=8).init()
    assert same(flat(narrow.generator.state_dict()), flat(wide.generator.state_dict()))


def test_impossible_shapes_are_refused_at_once() -> None:
    with pytest.raises(HarnessError, match="g_depth = 4 with architecture = 'dc'"):
        make(architecture="dc", g_depth=4)


# --- who learns when ------------------------------------------------------------------------------


@pytest.mark.parametrize("d_norm", ["none", "layer"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_discriminator_learns_only_in_its_own_step(
    loss: str, d_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make(loss=loss, d_norm=d_norm, d_steps=2)
    state = gan.init()
    before = flat(state.discriminator.state_dict())
    generator = flat(dict(state.generator.named_parameters()))
    freeze(state.d_optimizer, monkeypatch)
    gan.step(state, real_batches(2))
    assert same(flat(state.discriminator.state_dict()), before)
    assert not same(flat(dict(state.generator.named_parameters())), generator)


@pytest.mark.parametrize("g_norm", ["none", "batch"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_generator_learns_only_in_its_own_step(
    loss: str, g_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make(loss=loss, g_norm=g_norm, penalty="r2", d_steps=2)
    state = gan.init()
    before = flat(dict(state.generator.named_parameters()))
    discriminator = flat(state.discriminator.state_dict())
    freeze(state.g_optimizer, monkeypatch)
    gan.step(state, real_batches(2))
    assert same(flat(dict(state.generator.named_parameters())), before)
    assert not same(flat(state.discriminator.state_dict()), discriminator)


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_every_discriminator_step_has_its_own_batch_and_latents(d_steps: int) -> None:
    gan = make(d_steps=d_steps)
    state = gan.init()
    to_d, to_g = inputs_of(state.discriminator), inputs_of(state.generator)
    order: list[str] = []
    for name, optimizer in (("d", state.d_optimizer), ("g", state.g_optimizer)):
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    for index in range(3):
        gan.step(state, real_batches(d_steps, index))
    assert order == (["d"] * d_steps + ["g"]) * 3
    assert state.d_steps_total == 3 * d_steps
    assert state.g_steps_total == 3
    # D's step passes real and fake images together, G's only fakes.
    shown = [each[:BATCH] for each in to_d if len(each) == 2 * BATCH]
    expected = torch.cat([real_batches(d_steps, index) for index in range(3)])
    assert torch.equal(torch.stack(shown), expected)
    # d_steps + 1 batches of latents per iteration, each (batch_size, latent_dim), none used twice.
    assert len(to_g) == 3 * (d_steps + 1)
    assert all(each.shape == (BATCH, 3) for each in to_g)
    assert torch.cat(to_g).unique(dim=0).shape == (len(to_g) * BATCH, 3)


def test_latents_are_standard_normal() -> None:
    gan = make(batch_size=2000, latent_dim=10, d_width=1)
    state = gan.init()
    to_g = inputs_of(state.generator)
    gan.step(state, torch.zeros(1, 2000, *SHAPE))
    for latents in to_g:  # 20,000 draws
        assert latents.mean().item() == pytest.approx(0, abs=0.03)
        assert latents.std().item() == pytest.approx(1, abs=0.03)


def test_one_iteration_is_algorithm_1_written_out() -> None:
    lr, d_steps = 0.1, 2
    gan = make(optimizer="sgd", g_lr=lr, d_lr=2 * lr, d_steps=d_steps, g_norm="none")
    state = gan.init()
    g, d = copy.deepcopy(state.generator), copy.deepcopy(state.discriminator)
    latent_stream = torch.Generator()
    latent_stream.set_state(state.streams["latents"].get_state())
    batches = real_batches(d_steps)
    measures = gan.step(state, batches)

    def descend(module: nn.Module, loss: Tensor, rate: float) -> float:
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient)
        return float(torch.cat([each.flatten() for each in gradients]).norm())

    d_losses, d_norms, real_logits, fake_logits = [], [], [], []
    for real in batches:
        fake = g(torch.randn(BATCH, 3, generator=latent_stream)).detach()
        real_logits.append(d(real))
        fake_logits.append(d(fake))
        loss = softplus(-d(real)).mean() + softplus(d(fake)).mean()
        d_losses.append(loss.item())
        d_norms.append(descend(d, loss, 2 * lr))
    g_loss = softplus(-d(g(torch.randn(BATCH, 3, generator=latent_stream)))).mean()
    g_norm = descend(g, g_loss, lr)

    for expected, got in ((g, state.generator), (d, state.discriminator)):
        for key, value in expected.state_dict().items():
            torch.testing.assert_close(got.state_dict()[key], value, rtol=1e-4, atol=1e-6)
    real_all, fake_all = torch.cat(real_logits), torch.cat(fake_logits)
    assert {key: value.item() for key, value in measures.items()} == pytest.approx(
        {
            "d_loss": sum(d_losses) / d_steps,
            "d_grad_norm": sum(d_norms) / d_steps,
            "g_loss": g_loss.item(),
            "g_grad_norm": g_norm,
            "d_real_logit": real_all.mean().item(),
            "d_fake_logit": fake_all.mean().item(),
            "d_real": real_all.sigmoid().mean().item(),
            "d_fake": fake_all.sigmoid().mean().item(),
        },
        rel=1e-4,
    )


@pytest.mark.parametrize("loss", list(LOSSES))
def test_probabilities_are_measured_only_for_log_odds(loss: str) -> None:
    gan = make(loss=loss)
    measures = gan.step(gan.init(), real_batches(1))
    assert ("d_real" in measures) == LOSSES[loss].logits_are_log_odds
    assert all(value.shape == () and not value.requires_grad for value in measures.values())


def test_relativistic_generator_step_sees_the_real_batch() -> None:
    gan = make(loss="relativistic_average", optimizer="sgd", d_lr=1e-30)
    state = gan.init()
    to_d = inputs_of(state.discriminator)
    batches = real_batches(1)
    measures = gan.step(state, batches)
    real_d, fake_d = state.discriminator(batches[0]), state.discriminator(to_d[1])
    expected = LOSSES["relativistic_average"].generator(real_d, fake_d)
    assert measures["g_loss"].item() == pytest.approx(expected.item(), rel=1e-5)


# --- nothing is read back -------------------------------------------------------------------------


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Tensor, *_: Any) -> Any:
        raise AssertionError("a step read a tensor back to the host")

    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, read)


@pytest.mark.parametrize("penalty", list(PENALTIES))
@pytest.mark.parametrize("loss", list(LOSSES))
def test_step_reads_nothing_back(loss: str, penalty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gan = make(loss=loss, penalty=penalty, weight_clip=0.1, g_dropout=0.2, d_dropout=0.2)
    state, batches = gan.init(), real_batches(1)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        gan.step(state, batches)
        gan.step(state, batches)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["batch", "layer", "spectral"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_no_optimizer_or_norm_reads_back(
    architecture: str, norm: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make(architecture=architecture, g_norm=norm, d_norm=norm, optimizer=optimizer)
    state, batches = gan.init(), real_batches(1)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        gan.step(state, batches)
        gan.step(state, batches)


# --- clipping, penalties, norms -------------------------------------------------------------------


def test_clipping_covers_all_of_d_after_every_step() -> None:
    clip = 0.01
    gan = make(loss="wasserstein", weight_clip=clip, d_steps=3, d_lr=0.5, d_norm="layer")
    state = gan.init()
    largest: list[float] = []

    def record(module: nn.Module, _: Any) -> None:
        largest.append(max(parameter.abs().max().item() for parameter in module.parameters()))

    state.discriminator.register_forward_pre_hook(record)
    gan.step(state, real_batches(3))
    assert len(largest) == 4  # three D steps and G's
    assert largest[0] > clip
    assert all(value == pytest.approx(clip) for value in largest[1:])
    assert all(parameter.abs().max() <= clip for parameter in state.discriminator.parameters())
    assert any(parameter.abs().max() > clip for parameter in state.generator.parameters())


def test_no_clipping_unless_asked() -> None:
    state = run(make(loss="wasserstein", d_lr=0.5))
    assert max(p.abs().max().item() for p in state.discriminator.parameters()) > 0.3


@pytest.mark.parametrize(("interval", "d_steps"), [(1, 1), (3, 1), (3, 2)])
def test_lazy_penalty(interval: int, d_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A constant penalty moves no weight, so that the runs differ in the reported loss alone.
    calls: list[tuple[Any, ...]] = []

    def constant(*args: Any) -> Tensor:
        calls.append(args)
        return torch.tensor(1.0)

    monkeypatch.setitem(PENALTIES._entries, "r1", constant)
    plain = make(d_steps=d_steps)
    lazy = make(penalty="r1", penalty_weight=0.5, penalty_interval=interval, d_steps=d_steps)
    states = plain.init(), lazy.init()
    added = []
    for index in range(6):
        batches = real_batches(d_steps, index)
        without, with_penalty = (
            gan.step(state, batches)["d_loss"].item()
            for gan, state in zip((plain, lazy), states, strict=True)
        )
        added.append(d_steps * (with_penalty - without))
    # Applied at D steps 0, n, 2n, …, multiplied by n.
    per_step = [0.5 * interval * (step % interval == 0) for step in range(6 * d_steps)]
    expected = [sum(per_step[i : i + d_steps]) for i in range(0, len(per_step), d_steps)]
    assert added == pytest.approx(expected, abs=1e-5)
    assert len(calls) == sum(step > 0 for step in per_step)
    discriminator, real, fake, generator = calls[0]
    assert discriminator is states[1].discriminator
    assert torch.equal(real, real_batches(d_steps, 0)[0])
    assert fake.shape == real.shape
    assert not fake.requires_grad
    assert generator is states[1].streams["penalty"]


@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "none"])
def test_penalty_moves_the_discriminator(penalty: str) -> None:
    weights = []
    for weight in (0.0, 10.0):
        gan = make(penalty=penalty, penalty_weight=weight, optimizer="sgd", d_lr=0.1)
        state = gan.init()
        for parameter in state.discriminator.parameters():
            parameter.data.mul_(10)  # slopes above 1, where the one-sided penalty begins
        gan.step(state, real_batches(1))
        weights.append(flat(state.discriminator.state_dict()))
    assert not same(*weights)


def test_zero_weight_is_the_plain_loss() -> None:
    plain = run(make(optimizer="sgd"), 2).discriminator.state_dict()
    zero = run(make(optimizer="sgd", penalty="r1", penalty_weight=0.0), 2)
    for key, value in zero.discriminator.state_dict().items():
        torch.testing.assert_close(value, plain[key])


@pytest.mark.parametrize("d_norm", ["none", "layer"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_passing_real_and_fake_together_changes_nothing(
    loss: str, architecture: str, d_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = make(loss=loss, architecture=architecture, d_norm=d_norm, optimizer="sgd", d_lr=0.1)
    gradients = []
    for joint in (True, False):
        monkeypatch.setattr(gan, "_joint_pass", joint)
        state = gan.init()
        to_d = inputs_of(state.discriminator)
        gan.step(state, real_batches(1))
        assert [len(each) for each in to_d][:1] == [2 * BATCH if joint else BATCH]
        gradients.append([p.grad.clone() for p in state.discriminator.parameters()])  # type: ignore[union-attr]
    assert any(gradient.any() for gradient in gradients[0])
    for joint_gradient, separate_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(joint_gradient, separate_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_batch_norm_in_d_passes_real_and_fake_separately(architecture: str) -> None:
    gan = make(d_norm="batch", architecture=architecture)
    state = gan.init()
    d = copy.deepcopy(state.discriminator)
    to_d = inputs_of(state.discriminator)
    batches = real_batches(1)
    measures = gan.step(state, batches)
    assert [len(each) for each in to_d] == [BATCH] * 3
    assert torch.equal(to_d[0], batches[0])
    assert measures["d_real_logit"].item() == pytest.approx(d(to_d[0]).mean().item(), abs=1e-6)
    assert measures["d_fake_logit"].item() == pytest.approx(d(to_d[1]).mean().item(), abs=1e-6)


# --- optimisers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_settings_reach_the_adams(optimizer: str) -> None:
    state = make(
        optimizer=optimizer, g_lr=0.1, d_lr=0.2, adam_beta1=0.3, adam_beta2=0.4, weight_decay=0.05
    ).init()
    for each, lr in ((state.g_optimizer, 0.1), (state.d_optimizer, 0.2)):
        (group,) = each.param_groups
        assert group["lr"] == lr
        assert group["betas"] == (0.3, 0.4)
        assert group["weight_decay"] == 0.05
        assert group["decoupled_weight_decay"] == (optimizer == "adamw")


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_every_optimizer_trains_both_networks(optimizer: str, kind: type) -> None:
    gan = make(optimizer=optimizer, g_lr=0.01, d_lr=0.02, weight_decay=0.05)
    state = gan.init()
    before = flat([state.generator.state_dict(), state.discriminator.state_dict()])
    gan.step(state, real_batches(1))
    after = flat([state.generator.state_dict(), state.discriminator.state_dict()])
    networks = (state.generator, state.discriminator)
    for each, lr, network in zip(
        (state.g_optimizer, state.d_optimizer), (0.01, 0.02), networks, strict=True
    ):
        assert type(each) is kind
        (group,) = each.param_groups
        assert (group["lr"], group["weight_decay"]) == (lr, 0.05)
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    unmoved = [
        key for key in before
        if isinstance(before[key], Tensor) and torch.equal(before[key], after[key])
    ]  # fmt: skip
    # A bias before batch norm has no gradient to speak of; sgd may leave it where it was.
    assert [key for key in unmoved if not key.endswith("bias")] == []
    assert gan.is_finite(state)


def test_discriminator_learns_to_tell_real_from_fake() -> None:
    gan = make(g_lr=1e-6, d_lr=0.01)
    state = gan.init()
    for index in range(60):
        measures = gan.step(state, real_batches(1, index).clamp(0.5))
    assert measures["d_real"] > 0.8
    assert measures["d_fake"] < 0.2


# --- sampling, finiteness, state ------------------------------------------------------------------


@pytest.mark.parametrize("g_norm", ["batch", "spectral"])
@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_sampling_changes_no_training_state(architecture: str, g_norm: str) -> None:
    gan = make(architecture=architecture, g_norm=g_norm, g_dropout=0.3, d_dropout=0.3)
    state = run(gan, 2)
    before, global_state = flat(gan.state_dict(state)), torch.get_rng_state()
    latents = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    images = gan.sample(state, latents)
    assert same(flat(gan.state_dict(state)), before)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(module.training for module in state.generator.modules())
    assert images.shape == (5, *SHAPE)
    assert images.abs().max() <= 1
    assert not images.requires_grad
    # Eval mode: no dropout, and a sample does not depend on its neighbours.
    assert torch.equal(gan.sample(state, latents), images)
    torch.testing.assert_close(gan.sample(state, latents[:1]), images[:1], rtol=1e-4, atol=1e-5)


def test_steps_after_sampling_are_the_same_steps() -> None:
    gan = make(architecture="dc", g_norm="batch", g_dropout=0.3)
    states = gan.init(), gan.init()
    for index in range(3):
        gan.sample(states[0], torch.zeros(2, 3))
        for state in states:
            gan.step(state, real_batches(1, index))
    assert same(*(flat(gan.state_dict(state)) for state in states))


@pytest.mark.parametrize(
    ("network", "value"),
    list(itertools.product(["generator", "discriminator"], [float("nan"), float("inf")])),
)
def test_one_bad_weight_is_not_finite(network: str, value: float) -> None:
    gan = make()
    state = gan.init()
    assert gan.is_finite(state)
    with torch.no_grad():
        list(getattr(state, network).parameters())[-1].view(-1)[0] = value
    assert not gan.is_finite(state)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_state_round_trip_continues_bit_for_bit(optimizer: str, norm: str) -> None:
    gan = make(optimizer=optimizer, g_norm=norm, d_norm=norm, g_dropout=0.2, d_dropout=0.2)
    state = run(gan, 2)
    saved = copy.deepcopy(gan.state_dict(state))
    resumed = gan.init()
    gan.load_state_dict(resumed, saved)
    assert same(flat(gan.state_dict(resumed)), flat(gan.state_dict(state)))
    for index in range(2):
        expected = gan.step(state, real_batches(1, 10 + index))
        got = gan.step(resumed, real_batches(1, 10 + index))
        assert same(flat(got), flat(expected))
    assert same(flat(gan.state_dict(resumed)), flat(gan.state_dict(state)))
    assert (resumed.d_steps_total, resumed.g_steps_total) == (4, 4)


def test_steps_ignore_and_keep_the_global_state() -> None:
    gan = make(penalty="gradient", g_dropout=0.2, d_dropout=0.2)
    results = []
    for seed in (1, 2):
        state = gan.init()
        for index in range(2):
            torch.manual_seed(seed + index)
            before = torch.get_rng_state()
            gan.step(state, real_batches(1, index))
            assert torch.equal(torch.get_rng_state(), before)
        results.append(flat(gan.state_dict(state)))
    assert same(*results)


def test_loading_a_state_leaves_the_saved_one_alone() -> None:
    gan = make()
    saved = copy.deepcopy(gan.state_dict(run(gan, 2)))
    before = flat(saved)
    resumed = gan.init()
    gan.load_state_dict(resumed, saved)
    gan.step(resumed, real_batches(1))
    assert same(flat(saved), before)


@pytest.mark.parametrize("architecture", ["mlp", "dc"])
def test_parameters_are_counted_as_built(architecture: str) -> None:
    system = make(architecture=architecture)
    state = system.init()
    built = {"generator": state.generator, "discriminator": state.discriminator}
    assert system.num_parameters() == {
        name: sum(each.numel() for each in network.parameters()) for name, network in built.items()
    }
