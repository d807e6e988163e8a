"""What can be wrong with a config: types, ranges, parts, and keys that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recambio import registry
from recambio.config import schema
from recambio.config.schema import Key, RunConfig

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

ATTENTION_SITES = {"encoder": ("encoder_self",), "decoder": ("decoder_self", "cross")}


def schema_problems(values: Mapping[str, Any], section: type = RunConfig, at: str = "") -> Iterator[str]:
    """Wrong types, numbers out of range and missing keys; parts are left to :func:`part_problems`."""
    for name, key in schema.keys(section).items():
        where = f"{at}{name}"
        value = values.get(name)
        if key.kind is not None:
            continue
        if key.section is not None and isinstance(value, Mapping):
            yield from schema_problems(value, key.section, f"{where}.")
        elif key.entries is not None and isinstance(value, Mapping):
            for entry, inner in value.items():
                missing = [k for k in schema.keys(key.entries) if k not in inner]
                if missing:
                    yield f"{where}.{entry}: needs {' and '.join(missing)}"
                else:
                    yield from schema_problems(inner, key.entries, f"{where}.{entry}.")
        elif key.entries is not None:
            yield f"{where}: must be a mapping of names to sets, but is {value!r}"
        elif found := registry.check_value(value, key.annotation, where):
            yield from found
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _range_problems(key, value, where)


def part_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Unknown parts, their wrong options, and parts at sites that they don't work at."""
    for path, key in schema.all_keys():
        node = _at(values, path)
        if key.kind is None or (node is None and key.inherits):
            continue
        kind = registry.REGISTRIES[key.kind]
        nodes = [(f"{path}.{i}", n) for i, n in enumerate(node)] if isinstance(node, list) else [(path, node)]
        for where, entry in nodes:
            yield from kind.problems(entry, where)
    yield from _regularization_problems(values["data"])
    yield from _site_problems(values)
    yield from _pair_problems(values)


def cross_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Keys that contradict each other; what has the wrong type is passed over, for it has been reported."""
    name = values.get("name")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        yield f"name: names the run's folder: letters, digits, '.', '_' and '-', but is {name!r}"
    model, training = values["model"], values["training"]
    d_model, n_heads = model["d_model"], model["n_heads"]
    if _is_count(d_model) and _is_count(n_heads) and d_model % n_heads:
        low = d_model - d_model % n_heads
        fit = f"{low} or {low + n_heads}" if low else f"{n_heads}"
        yield f"model.d_model: must be divisible by model.n_heads ({n_heads}), but is {d_model}; {fit} would be"
    if all(training[limit] is None for limit in ("max_steps", "max_epochs", "max_minutes")):
        yield "training: has no limit; set max_steps, max_epochs or max_minutes"
    if training["init_partial"] is True and training["init_from"] is None:
        yield "training.init_partial: says how to take over training.init_from, which isn't set; set it, or leave this out"
    if training["target_batch_tokens"] is not None and training["accumulate"] != 1:
        yield (
            f"training.accumulate: is {training['accumulate']!r}, but training.target_batch_tokens chooses it; "
            "set accumulate=1, or leave target_batch_tokens out"
        )
    average = training["average"]
    if isinstance(average, Mapping) and len(several := [k for k, v in average.items() if v]) > 1:
        unset = ", ".join(f"{k}={'null' if k == 'ema' else 0}" for k in several[:-1])
        yield f"training.average: is one of last, best and ema, but has {' and '.join(several)}; set {unset} for {several[-1]}"
    for stack in ("encoder", "decoder"):
        yield from _stack_problems(model[stack], stack)


def hardware_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What this machine can't train with."""
    trainer = values["trainer"]
    if trainer["precision"] == "16-mixed":
        import torch

        if trainer["accelerator"] == "cpu" or not torch.cuda.is_available():
            yield (
                "trainer.precision: '16-mixed' needs a CUDA device, and Lightning would silently run bf16 without one; "
                "use 'bf16-mixed' or '32'"
            )


def _range_problems(key: Key, value: float, where: str) -> Iterator[str]:
    if "low" not in key.metadata:
        return
    low, high = key.metadata["low"], key.metadata["high"]
    if key.metadata["open_low"] and not value > low:
        yield f"{where}: must be greater than {low}, but is {value}"
    elif not low <= value < high:
        bounds = f"at least {low}" if high == float("inf") else f"in [{low}, {high})"
        yield f"{where}: must be {bounds}, but is {value}"


def _stack_problems(values: Mapping[str, Any], stack: str) -> Iterator[str]:
    n_layers = values["n_layers"]
    if not _is_count(n_layers):
        return
    for name, key in schema.keys(schema.Decoder).items():
        node = values.get(name)
        if key.per_layer and isinstance(node, list) and len(node) != n_layers:
            yield (
                f"model.{stack}.{name}: a list has one {key.kind} a layer, "
                f"but this has {len(node)} and the {stack} has {n_layers} layers"
            )
    layers = values.get("position_layers")
    if isinstance(layers, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in layers):
        if wrong := [i for i in layers if not 0 <= i < n_layers]:
            yield f"model.{stack}.position_layers: layers are 0 to {n_layers - 1}, but this names {wrong[0]}"
        if len(set(layers)) != len(layers):
            yield f"model.{stack}.position_layers: names a layer twice: {layers}"


def _regularization_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Sampling of segmentations that the tokenizer can't do."""
    from recambio.data.tokenizers.base import regularization_problem

    node, options = data["tokenizer"], data["regularization"]
    if isinstance(options, Mapping) and _is_sound("tokenizer", node):
        cls = registry.TOKENIZER.get(registry.TOKENIZER.resolve(node)[0]).cls
        problems = (regularization_problem(option, cls) for option, strength in options.items() if strength)
        yield from filter(None, problems)


def _site_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Parts whose card keeps them from a site of this model."""
    model = values["model"]
    for stack, sites in ATTENTION_SITES.items():
        for kind in ("attention", "feed_forward"):
            for site in sites if kind == "attention" else (f"{stack}_feed_forward",):
                name = "cross_attention" if site == "cross" else kind
                own = model[stack].get(name)
                origin = f"model.{kind}" if own is None else f"model.{stack}.{name}"
                node = model[kind] if own is None else own
                for entry in node if isinstance(node, list) else [node]:
                    yield from _card_problems(kind, entry, site, origin, f"model.{stack}.{name}")


def _pair_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Positions that a stack, or its attention, has no place for."""
    from recambio.components.compatible import attention_conflict, stack_conflict

    model = values["model"]
    for stack in ATTENTION_SITES:
        own = model[stack].get("positions")
        positions, origin = (
            (model["positions"], "model.positions") if own is None else (own, f"model.{stack}.positions")
        )
        if not _is_sound("positions", positions):
            continue
        if problem := stack_conflict(positions, stack):
            yield f"{origin}: {problem}"
            continue
        attention = model[stack].get("attention")
        attention = model["attention"] if attention is None else attention
        layers = model[stack].get("position_layers")
        nodes = attention if isinstance(attention, list) else [attention]
        if isinstance(attention, list) and isinstance(layers, list):
            nodes = [node for i, node in enumerate(attention) if i in layers]
        elif layers == []:
            continue
        sound = [node for node in nodes if _is_sound("attention", node)]
        yield from dict.fromkeys(
            f"{origin}: {problem}" for node in sound if (problem := attention_conflict(node, positions))
        )


def _is_sound(kind: str, node: Any) -> bool:
    return not registry.REGISTRIES[kind].problems(node)


def _card_problems(kind: str, node: Any, site: str, origin: str, key: str) -> Iterator[str]:
    parts = registry.REGISTRIES[kind]
    name = node.get("name") if isinstance(node, Mapping) else None
    if not isinstance(name, str) or (name not in parts.entries and name not in parts.presets):
        return  # reported already
    allowed = parts.get(name).card.sites
    if allowed and site not in allowed:
        remedy = "choose another" if origin == key else f"set {key} to another"
        yield f"{origin}: {kind} {name!r} can't stand at {site}, only at {', '.join(allowed)}; {remedy}"


def _at(values: Any, path: str) -> Any:
    for step in path.split("."):
        values = values.get(step) if isinstance(values, Mapping) else None
    return values


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
