"""The registry of named building blocks."""

from __future__ import annotations

import pytest

from harness.data import DATASETS
from harness.errors import HarnessError
from harness.registry import Registry, first_line
from harness.systems.architectures import ARCHITECTURES
from harness.systems.gan.losses import LOSSES
from harness.systems.gan.penalties import PENALTIES
from harness.systems.layers import ACTIVATIONS, NORMS


@pytest.fixture
def colours() -> Registry[int]:
    registry: Registry[int] = Registry("colour")
    registry.add("red", 1, "Long waves")
    registry.add("blue", 2, "Short waves")
    return registry


def test_returns_what_was_added_in_order(colours: Registry[int]) -> None:
    assert colours["red"] == 1
    assert list(colours) == ["red", "blue"]
    assert colours.describe() == {"red": "Long waves", "blue": "Short waves"}
    assert "red" in colours
    assert "green" not in colours


def test_a_name_is_taken_once(colours: Registry[int]) -> None:
    with pytest.raises(ValueError, match="the colour 'red' is registered twice"):
        colours.add("red", 3, "Again")
    assert colours["red"] == 1


def test_unknown_name_suggests_the_nearest(colours: Registry[int]) -> None:
    with pytest.raises(HarnessError) as caught:
        colours["bleu"]
    expected = "unknown colour 'bleu'; did you mean 'blue'? (allowed: blue, red)"
    assert str(caught.value) == expected
    with pytest.raises(HarnessError) as caught:
        colours["zzz"]
    assert str(caught.value) == "unknown colour 'zzz' (allowed: blue, red)"


def test_check_speaks_pydantics_language(colours: Registry[int]) -> None:
    assert colours.check("blue") == "blue"
    with pytest.raises(ValueError, match="did you mean 'blue'"):
        colours.check("bleu")


def test_describing_gives_a_copy(colours: Registry[int]) -> None:
    colours.describe()["green"] = "Mine"
    assert "green" not in colours.describe()


def test_empty_registry_says_that_nothing_is_allowed() -> None:
    with pytest.raises(HarnessError, match=r"unknown colour 'red' \(allowed: none\)"):
        Registry("colour")["red"]


def test_first_line_of_a_docstring() -> None:
    def documented() -> None:
        """One sentence.

        More.
        """

    def bare() -> None: ...

    assert first_line(documented) == "One sentence"
    assert first_line(bare) == ""


@pytest.mark.parametrize(
    "registry",
    [ACTIVATIONS, ARCHITECTURES, DATASETS, LOSSES, NORMS, PENALTIES],
    ids=lambda registry: registry.noun,
)
def test_every_entry_describes_itself_in_one_line(registry: Registry[object]) -> None:
    assert list(registry)
    for name, description in registry.describe().items():
        assert name == name.lower()
        assert name.isidentifier()
        assert description
        assert "\n" not in description
