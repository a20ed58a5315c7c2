"""New study files: whatever is asked for, they parse, mean it, and can resolve something."""

from __future__ import annotations

import io
import itertools
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.config import parse
from harness.draft import (
    RANGES,
    SMALL,
    Draft,
    default_compare,
    default_tune,
    read_compare,
    read_fixed,
    read_tune,
)
from harness.errors import HarnessError
from harness.results.power import check_power, power_of
from harness.study.file import load_study
from harness.study.space import Choice, Range
from harness.study.study import StudyConfig
from harness.systems import SYSTEMS

COMPARED: list[list[str]] = [
    [],
    ["nothing"],
    ["architecture=mlp,dc,dc_pool"],
    ["loss=hinge,non_saturating", "d_steps=1,2,5"],
    ["preset=dc_pool,vae"],
    ["d_attention=true,false"],
    ["variant=hinge,least_squares"],
    ["g_lr=1e-4,2e-4,4e-4", "d_lr=1e-4,2e-4,4e-4"],
]
TUNED: list[list[str]] = [
    [],
    ["nothing"],
    ["batch_size", "adam_beta1=0.0..0.9"],
    ["latent_dim=16..128"],
]


def options(name: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (f"--{name}", value)]


def write(call: Any, *arguments: object) -> StudyConfig:
    """Write a file by `harness new` with nobody to ask, and read it."""
    said = call("new", "mine.toml", *arguments)
    assert (said.code, said.err) == (0, "")
    assert said.out == "mine.toml is written. Next: harness run mine.toml --dry-run\n"
    return load_study(Path("mine.toml"))


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.parametrize(("compare", "tune"), list(itertools.product(COMPARED, TUNED)))
def test_whatever_is_asked_for_is_what_the_file_means(
    call: Any, compare: list[str], tune: list[str]
) -> None:
    if compare == ["nothing"] and tune == ["nothing"]:
        said = call("new", "mine.toml", "--compare", "nothing", "--tune", "nothing")
        assert said.code == 2
        assert "compare is missing, and so is space" in said.err
        assert not Path("mine.toml").exists()
        return
    if "preset=dc_pool,vae" in compare and tune not in ([], ["nothing"]):  # few are of both
        tune = ["batch_size"]
    asked = ["--dataset", "mnist", "--images", 5000, "--trials", 3, "--question", 'Is "it"\\so?']
    study = write(call, *asked, *options("compare", compare), *options("tune", tune))
    assert (study.question, study.dataset, study.budget.images) == ('Is "it"\\so?', "mnist", 5000)
    factors = read_compare(compare) if compare else default_compare({}, "digits")
    assert {factor: list(levels) for factor, levels in study.factors.items()} == factors
    space = read_tune(tune or default_tune(factors, {}, "digits"))
    assert set(study.space) == set(space)
    assert not space or study.search.trials_per_arm == 3
    arms = study.arms()
    check_power(study, arms)
    least = power_of(study, arms)["smallest_p"]
    assert study.is_search == (least is None) == (compare == ["nothing"])
    if study.confirm.seeds > 5:  # no more than it takes
        fewer = study.model_copy(
            update={"confirm": study.confirm.model_copy(update={"seeds": study.confirm.seeds - 1})}
        )
        with pytest.raises(HarnessError):
            check_power(fewer, arms)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_defaults_of_every_system_are_possible(call: Any, system: str) -> None:
    data = "pairs:digits|inverted:digits" if SYSTEMS[system].Config.translates else "digits"
    has_nets = "architecture" in SYSTEMS[system].Config.model_fields
    compare = [] if has_nets else ["--compare", "g_lr=1e-4,2e-4"]
    study = write(call, "--dataset", data, "--set", f"system={system}", *compare)
    assert study.fixed["system"] == system


@pytest.mark.parametrize("key", list(RANGES))
def test_every_known_range_can_be_tuned(key: str) -> None:
    fixed: dict[str, Any] = {"penalty": "r1", "d_norm": "none"} if key.startswith("pen") else {}
    if key not in SYSTEMS["gan"].Config.model_fields:
        fixed["system"] = "vae"
    draft = Draft(
        dataset="digits", compare={}, space=read_tune([key]), fixed=fixed, images=320, trials=2
    )
    assert f"\n{key} = " in draft.text("mine.toml")


def test_ranges_and_values_are_read_as_they_stand(call: Any) -> None:
    tuned = ["g_lr=1e-5..1e-3", "latent_dim=16..32", "loss=hinge,minimax", "batch_size"]
    study = write(call, *options("tune", tuned), "--set", "g_width=32", "--seeds", 7)
    rate, latent, loss = (study.space[key] for key in ("g_lr", "latent_dim", "loss"))
    assert isinstance(rate, Range)
    assert (rate.low, rate.high, rate.log) == (1e-5, 1e-3, True)
    assert isinstance(latent, Range)
    assert (latent.low, latent.high, latent.log, latent.integer) == (16, 32, False, True)
    assert latent.default == 32  # the usual one lies above
    assert isinstance(loss, Choice)
    assert loss.values == ("hinge", "minimax")
    assert study.fixed == {"g_width": 32}
    assert study.confirm.seeds == 7


def test_the_file_says_what_its_parts_are(call: Any) -> None:
    write(call)
    text = Path("mine.toml").read_text()
    assert "harness run mine.toml --dry-run" in text
    assert "harness report mine\n" in text
    for table in tomllib.loads(text):
        if f"[{table}]" in text:
            above = text.partition(f"[{table}]")[0].splitlines()[-1]
            assert above.startswith("# "), table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mnits"], ["'mnits'", "'mnist'"]),
        (["--dataset", "folder:nowhere"], ["there is no folder nowhere"]),
        (["--compare", "k=1,2"], ["'k': here it is d_steps"]),
        (["--compare", "d_steps=1"], ["d_steps=1", "key=level,level"]),
        (["--compare", "loss=hinge,lsgan"], ["'lsgan': here it is loss = 'least_squares'"]),
        (["--compare", "=1,2"], ["--compare '=1,2'", "no setting's name before the ="]),
        (["--tune", "g_width"], ["--tune g_width", "g_width=low..high"]),
        (["--tune", "g_lr=1e-4..x"], ["g_lr=low..high, two numbers"]),
        (["--tune", "architecture"], ["'architecture' stands in both compare and space"]),
        (["--seeds", 3], ["confirm.seeds = 3", "nothing can be resolved"]),
        (["--set", "epochs=3"], ["'epochs': how long a run trains is [budget]"]),
    ],
)
def test_mistakes_are_one_line_and_no_file(
    call: Any, arguments: list[object], words: list[str]
) -> None:
    said = call("new", "mine.toml", *arguments)
    assert said.code == 2
    (line,) = said.err.splitlines()
    for word in words:
        assert word in line
    assert not Path("mine.toml").exists()


def test_a_file_is_never_overwritten(call: Any) -> None:
    Path("mine.toml").write_text("mine")
    said = call("new", "mine.toml")
    assert said.code == 2
    assert "never overwritten" in said.err
    assert Path("mine.toml").read_text() == "mine"
    assert call("new", "no name.toml").code == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_for_what_no_option_says_and_again_after_a_slip(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = "mnits\nmnist\nk=1,2\nd_steps=1,2 loss=hinge,minimax\n\n7_000\n"
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    said = call("new", "mine.toml", "--seeds", 8)
    assert said.code == 0
    assert "'mnist'" in said.out + said.err
    assert "here it is d_steps" in said.out + said.err
    study = load_study(Path("mine.toml"))
    assert study.dataset == "mnist"
    assert study.factors == {"d_steps": (1, 2), "loss": ("hinge", "minimax")}
    assert set(study.space) == {"g_lr", "d_lr"}
    assert (study.budget.images, study.confirm.seeds) == (7000, 8)


def test_settings_are_read_by_their_place() -> None:
    assert read_fixed(["image_size=32", "g_width=8"]) == {"image_size": 32, "g_width": 8}
    with pytest.raises(HarnessError, match="unknown key in fixed"):
        read_fixed(["search.sampler=tpe"])


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize("compared", [True, False])
def test_what_is_written_without_a_word_fits_its_data(dataset: str, compared: bool) -> None:
    factors = default_compare({}, dataset) if compared else {}
    space = read_tune(default_tune(factors, {}, dataset))
    draft = Draft(dataset=dataset, compare=factors, space=space, images=1000, trials=8)
    parse(StudyConfig, tomllib.loads(draft.text("new.toml")), "new.toml")


def test_what_cannot_be_made_of_the_data_is_refused() -> None:
    factors = {"architecture": ["mlp", "dc"]}
    draft = Draft(dataset="ring", compare=factors, space={}, images=1000, trials=8)
    with pytest.raises(HarnessError, match="points"):
        draft.text("new.toml")
