"""What every configuration is: frozen, strictly typed, complete, checked on creation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError, unknown_name

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """Base of every configuration: frozen, strictly typed, and it knows the nearest legal key."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(str(unknown_name("key", str(key), cls.model_fields)))
        return data


C = TypeVar("C", bound=BaseModel)


def parse(model: type[C], data: object, where: str) -> C:
    """Validate `data` as `model`.

    Args:
        model: The configuration's class.
        data: Nested dicts as read from TOML or JSON.
        where: What the data are called in messages, e.g. the study file's path.

    Raises:
        HarnessError: One line naming the first wrong key, its value and what is allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise HarnessError(f"{where}: {explain(error)}") from None


BRANCHES = {"bool", "int", "float", "str"}  # of a union, where any plain value is allowed


def explain(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as `key = value: what is allowed`."""
    first, *others = error.errors(include_url=False)
    place, message = first["loc"], first["msg"].removeprefix("Value error, ")
    if place and place[-1] in BRANCHES:
        place, message = place[:-1], "must be a text, a number, true or false"
        others = [other for other in others if other["loc"][: len(place)] != place]
    # Parts in brackets name a branch of a union, which no file spells out.
    key = ".".join(str(part) for part in place if not str(part).startswith("("))
    message = (message[:1].lower() + message[1:]).replace("valid tuple", "list")
    if first["type"] == "too_short":
        message = "expected at least one value, got none"
    if first["type"] == "missing":
        text = f"{key} is missing"
    elif first["type"] == "value_error" and isinstance(first["input"], dict):
        text = f"{key}: {message}" if key else message
    else:
        text = f"{key} = {first['input']!r}: {message}"
    return text + (f" (and {len(others)} more)" if others else "")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dotted keys, without those that are not set."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat
