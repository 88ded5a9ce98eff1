"""A configuration from defaults, then a YAML file, then `a.b=c` overrides, later ones winning; and what two differ in.

Unknown keys are refused with the nearest known one.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from plfeat.config import Config
from plfeat.errors import UsageError, first_line, unknown

AnyConfig = TypeVar("AnyConfig", bound=Config)


def build(
    cls: type[AnyConfig],
    file: Path | None = None,
    overrides: Iterable[str] = (),
    settings: dict[str, Any] | None = None,
    base: dict[str, Any] | None = None,
    **more: Any,
) -> AnyConfig:
    """A `cls` from `base`, then `file`, then `settings`, then `overrides` like `optim.rate=1e-3`; later win. `base`
    and `settings` are by dotted key."""
    tree = _tree(base or {})
    for layer in _layers(file, overrides, (settings or {}) | more):
        tree = _merge(tree, layer)
    try:
        _refuse_unknown_keys(cls, tree)
        return cls.model_validate(tree)
    except RecursionError as error:
        raise UsageError("config: a section contains itself") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        found = f" {where}: {said}, found {str(first['input'])[:60]!r}" if where else f": {said}"
        raise UsageError(f"config{found}") from error


def given(file: Path | None, overrides: Iterable[str], settings: dict[str, Any] | None) -> list[tuple[str, Any]]:
    """Every dotted key that is set, with its value, in each place that sets it; None sets nothing."""
    layers = _layers(file, overrides, settings or {})
    return [(key, value) for layer in layers for key, value in _leaves(layer) if value is not None]


def _layers(file: Path | None, overrides: Iterable[str], settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Later ones win."""
    if file is not None:
        yield _read(file)
    yield _tree(settings)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"override {override!r} is not of the form key=value, for example optim.rate=1e-3")
        yield _nest(key.strip().split("."), _scalar(value))


def known_keys(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """Every dotted key that `cls` understands."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def changes(config: Config, base: Config) -> dict[str, Any]:
    """The dotted keys in which `config` differs from `base`, with its values."""
    before = dict(_leaves(base.model_dump(mode="json")))
    return {key: value for key, value in _leaves(config.model_dump(mode="json")) if value != before[key]}


def reset(config: AnyConfig, base: AnyConfig, keys: Iterable[str]) -> AnyConfig:
    """`config` with `base`'s values of some dotted keys, whether they fit together or not."""
    for key in keys:
        section, _, name = key.rpartition(".")
        if section:
            inner = getattr(config, section).model_copy(update={name: getattr(getattr(base, section), name)})
            config = config.model_copy(update={section: inner})
        else:
            config = config.model_copy(update={name: getattr(base, name)})
    return config


def _refuse_unknown_keys(cls: type[Config], tree: dict[str, Any]) -> None:
    known = set(known_keys(cls))
    for key, _ in _leaves(tree):
        if key not in known:
            raise unknown("config key", key, known)


def _tree(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        tree = _merge(tree, _nest(key.split("."), value))
    return tree


def _nest(path: list[str], value: Any) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if path[1:] else value}


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _scalar(text: str) -> Any:
    """YAML, so a list is written `[1,2]`; but a sentence is taken as it stands, whatever `#`, `:` or `{}` mean there.
    YAML 1.1 reads `1e-3` as text; pydantic makes it a number."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise UsageError(f"config value {text[:60]!r} is not valid YAML") from error
        return text
    is_quoted = text.lstrip()[:1] in ("'", '"')
    is_tree = isinstance(value, dict) and value and text.lstrip().startswith("{")
    return text if (isinstance(value, str) and not is_quoted) or (isinstance(value, dict) and not is_tree) else value


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"config file {file} does not exist") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"config file {file} cannot be read as YAML: {first_line(error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UsageError(f"config file {file}: expected keys and values, found {type(tree).__name__}")
    return tree
