"""Read a config file: YAML in, a :class:`~schemas.config.Config` or one clear error out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from schemas.config import Config
from schemas.errors import ConfigError
from schemas.section import section_keys

_SHOWN_CHARACTERS = 100
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice in one mapping, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice; drop one", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, **overrides: Any) -> Config:
    """The config in a YAML file; ``overrides`` replace top-level keys that are not None.

    ``${NAME}`` in a string is the environment variable.

    Raises :class:`ConfigError` naming file, key, rule and value;
    unknown keys get the nearest known one.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: no such config file; `neuronmill init --help` shows how to make one")
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}; correct the line") from error
    if not isinstance(data, dict):
        found = "an empty file" if data is None else f"a {type(data).__name__}"
        raise ConfigError(
            f"{path}: a config is a mapping of sections (store, corpus, model, …), not {found}; "
            "`neuronmill init` writes a whole one"
        )
    data = _expand(data, str(path))
    return parse_config(data | {key: value for key, value in overrides.items() if value is not None}, str(path))


def _expand(value: Any, origin: str) -> Any:
    """``value`` with every ``${NAME}`` in its strings replaced by the environment variable."""
    if isinstance(value, dict):
        return {key: _expand(inner, origin) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, origin) for inner in value]
    return _VARIABLE.sub(lambda match: _variable(match[1], origin), value) if isinstance(value, str) else value


def _variable(name: str, origin: str) -> str:
    if name not in os.environ:
        raise ConfigError(
            f"{origin}: ${{{name}}} is used, and the environment has no {name}; set it, or write the value"
        )
    return os.environ[name]


def parse_config(data: dict[str, Any], origin: str) -> Config:
    """The config in plain data; ``origin`` names where it came from in errors."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(origin, _leading(error.errors())))) from error


def _leading(details: list[Any]) -> list[Any]:
    """The problems, less those that only follow from a problem deeper inside the same value."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if not any(len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"] for place in places)
    ]


def _explain(origin: str, details: list[Any]) -> list[str]:
    """Validation problems as ``origin: key: rule (got value); way out``, one line a key."""
    rules: dict[str, list[Any]] = {}
    for detail in details:
        rules.setdefault(_key(detail["loc"], detail["type"]), []).append(detail)
    return [f"{origin}: {key}: {_rule(found)}" for key, found in rules.items()]


def _key(location: tuple[Any, ...], kind: str) -> str:
    """``search.methods[0]``: pydantic's names of the branches of a union are left out."""
    text, model = "", _section(Config)
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(part, int):
            text += f"[{part}]"
        elif (model and part in section_keys(model)) or (is_last and kind == "extra_forbidden"):
            text += f".{part}"
            field = section_keys(model).get(part) if model else None
            model = _section(field.annotation) if field else None
    return text.removeprefix(".") or "config"


def _rule(details: list[Any]) -> str:
    """The rule, what was found, and the way out."""
    first = details[0]
    location = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        known = list(_known_keys(location[:-1]))
        near = get_close_matches(location[-1], known, n=1)
        return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known here: {', '.join(known)}"
    if first["type"] == "missing":
        return "required key is missing; add it (`neuronmill init --help` shows how to get a whole config)"
    rule = ", or ".join(dict.fromkeys(detail["msg"].removeprefix("Value error, ") for detail in details))
    value = repr(first["input"])
    found = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
    choices = re.findall("'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
    near = get_close_matches(str(first["input"]), choices, n=1)
    way_out = f"did you mean {near[0]!r}?" if near else "correct it (docs/reference/config.md describes every key)"
    return f"{rule} (got {found}); {way_out}"


def _known_keys(location: list[str]) -> Iterator[str]:
    """Keys of the section at ``location``."""
    model: type[BaseModel] | None = Config
    for part in location:
        if part.isdigit() or model is None:
            continue
        field = section_keys(model).get(part)
        model = _section(field.annotation) if field else None
    yield from section_keys(model) if model else ()


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section model inside an annotation such as ``Section | None`` or ``tuple[Section, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple, list):
        found = (_section(inner) for inner in get_args(annotation))
        return next((model for model in found if model), None)
    return None
