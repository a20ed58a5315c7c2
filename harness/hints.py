"""What common names are called here: names from papers and other code, for messages alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from string import Formatter
from typing import Any

KEYS: Mapping[str, tuple[str, ...]] = {
    "{d_steps}": ("k", "n_critic", "ncritic", "critic_iters", "disc_iters", "d_iters", "n_dis"),
    "{g_lr} and {d_lr}": ("lr", "learning_rate", "ttur"),
    "{g_lr}": ("lr_g", "lrg", "gen_lr"),
    "{d_lr}": ("lr_d", "lrd", "disc_lr", "critic_lr"),
    "{adam_beta1}": ("beta1", "b1"),
    "{adam_beta2}": ("beta2", "b2"),
    "{adam_beta1} and {adam_beta2}": ("betas",),
    "{weight_decay}": ("wd",),
    "{schedule}": ("scheduler", "lr_scheduler", "lr_schedule", "lr_decay"),
    "{warm_up}": ("warmup", "warmup_steps"),
    "{clip_grad}": ("grad_clip", "gradient_clipping", "max_grad_norm"),
    "{batch_size}": ("batch", "bs", "minibatch"),
    "{image_size}": ("img_size", "resolution", "imsize"),
    "{latent_dim}": ("z_dim", "dim_z", "nz", "latent", "latent_size", "noise_dim"),
    "{g_width} and {d_width}": ("width", "hidden", "hidden_dim", "channels", "nf"),
    "{g_width}": ("ngf",),
    "{d_width}": ("ndf",),
    "{g_depth} and {d_depth}": ("depth", "layers", "num_layers"),
    "{g_norm} and {d_norm}": ("norm", "batch_norm", "batchnorm"),
    "{d_norm} (its value spectral)": ("spectral_norm", "sn"),
    "{g_activation} and {d_activation}": ("activation",),
    "{g_dropout} and {d_dropout}": ("dropout",),
    "{penalty} with {penalty_weight}": ("gp", "gradient_penalty", "r1"),
    "{penalty_weight}": ("gp_weight", "gp_lambda", "lambda", "lambda_gp", "r1_gamma", "gamma"),
    "{weight_clip}": ("clip_value", "clip"),
    "{average}, a half-life in images": ("ema", "ema_decay", "ema_kimg", "ema_beta"),
    "{smooth_real}": ("label_smoothing",),
    "{augment}": ("diffaugment", "diff_augment", "ada"),
    "{pack}": ("pacgan", "packing"),
    "{dataset}": ("data", "data_set"),
    "{trials_per_arm}": ("trials", "n_trials", "num_trials"),
    "{seeds}": ("n_seeds", "num_seeds", "repeats"),
    "{samples}": ("n_samples", "num_samples", "num_gen", "fid_samples"),
    "{objective}": ("metric",),
}
"""What a key is here -> its names elsewhere, in lower case. Keys in braces: it is shown where all
are legal."""

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "how long a run trains is [budget], in images, g_steps, d_steps or seconds": (
        "epochs", "n_epochs", "num_epochs", "max_epochs", "iterations", "iters", "n_iter",
        "max_steps", "steps", "num_steps", "kimg",
    ),
    "no processes load data, batches come from memory; --workers is how many runs train at once": (
        "num_workers", "n_workers", "workers", "n_jobs", "pin_memory", "prefetch_factor",
    ),
    "where runs train is --device, and how many share it --workers": (
        "gpus", "gpu", "num_gpus", "n_gpus", "ngpu", "cuda", "device", "devices",
    ),
    "it is --threads": ("threads", "num_threads"),
    "it is precision at the top of the file: float32, bfloat16 or auto": (
        "fp16", "bf16", "amp", "mixed_precision", "half",
    ),
    "whether poor trials stop early is [search] pruner": ("early_stopping", "patience"),
}  # fmt: skip
"""What does the work of a key elsewhere -> its names, in lower case."""

_WGAN = {"loss": "wasserstein", "optimizer": "rmsprop", "weight_clip": 0.01, "d_steps": 5}
_WGAN_GP = {"loss": "wasserstein", "penalty": "gradient", "d_steps": 5}
_DC: Mapping[str, Any] = {"architecture": "dc"}
VALUES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "wgan": (_WGAN, {"preset": "wgan"}),
    "wgan-gp": (_WGAN_GP, {"preset": "wgan_gp"}),
    "wgan_gp": (_WGAN_GP, {"preset": "wgan_gp"}),
    "wgangp": (_WGAN_GP, {"preset": "wgan_gp"}),
    "lsgan": ({"loss": "least_squares"},),
    "nsgan": ({"loss": "non_saturating"},),
    "vanilla": ({"loss": "minimax"}, {"loss": "non_saturating"}),
    "bce": ({"loss": "non_saturating"},),
    "ragan": ({"loss": "relativistic_average"},),
    "rsgan": ({"loss": "relativistic_pairing"},),
    "rpgan": ({"loss": "relativistic_pairing"},),
    "sngan": ({"loss": "hinge", "d_norm": "spectral"}, {"preset": "resnet"}),
    "dragan": ({"penalty": "dragan"},),
    "pacgan": ({"pack": 2},),
    "dcgan": (_DC, {"architecture": "dcgan32"}),
    "cnn": (_DC,),
    "conv": (_DC,),
    "gp": ({"penalty": "gradient"},),
    "stylegan2": ({"preset": "stylegan"},),
    "cyclegan": ({"preset": "cyclegan"},),
    "cgan": ({"conditioning": "concatenation"}, {"preset": "cgan"}),
}
"""A system's common name, in lower case -> settings that make it here, in one way or several."""
HINTED = ("system", "architecture", "loss", "penalty", "variant", "preset")
"""Whose values are such names."""


def hint(noun: str, name: str, allowed: Collection[str]) -> str | None:
    """Return what an unknown name is called here; None where nothing is known of it.

    Args:
        noun: What it names, e.g. "key in fixed" or "loss".
        name: The name.
        allowed: What would be legal in its place.
    """
    kind = noun.partition(" ")[0]
    if kind in ("key", "factor"):
        return _of_key(name.lower(), allowed)
    if kind in HINTED and name.lower() in VALUES:
        text = f"here it is {_spell(VALUES[name.lower()])}"
        return f"{text}, e.g. in a table [variants.{name}]" if kind == "variant" else text
    return None


def _of_key(name: str, allowed: Collection[str]) -> str | None:
    for text, names in KEYS.items():
        here = {key for _, key, _, _ in Formatter().parse(text) if key}
        if name in names and here <= set(allowed):
            return f"here it is {text.format_map({key: key for key in here})}"
    return next((text for text, names in ELSEWHERE.items() if name in names), None)


def _spell(ways: Sequence[Mapping[str, Any]]) -> str:
    """Spell settings as "a, b and c", and several ways with "or"."""
    texts = []
    for way in ways:
        *others, last = (f"{key} = {value!r}" for key, value in way.items())
        texts.append(f"{', '.join(others)} and {last}" if others else last)
    return (", or " if any(len(way) > 1 for way in ways) else " or ").join(texts)
