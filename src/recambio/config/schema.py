"""Every key of a config, its type, its default and its range, in one place."""

# ruff: noqa: RUF009 - part(), site() and number() return dataclass fields
from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PartNode = dict[str, Any]
"""A part: ``{"name": ..., option: value}``; in a loaded config every option is there."""

SiteNode = PartNode | list[PartNode] | None
"""A part, one part a layer, or None where the model's own is used."""


def part(kind: str, name: str, **options: Any) -> Any:
    """A key that holds one part of ``kind``."""
    return field(default_factory=lambda: {"name": name, **options}, metadata={"kind": kind})


def parts(kind: str, *names: str) -> Any:
    """A key that holds a list of parts of ``kind``."""
    return field(default_factory=lambda: [{"name": n} for n in names], metadata={"kind": kind, "is_list": True})


def site(kind: str, *, per_layer: bool = True) -> Any:
    """A key of a stack that takes the place of ``model.<kind>`` there."""
    return field(default=None, metadata={"kind": kind, "inherits": True, "per_layer": per_layer})


def number(default: float | None, low: float = 0, high: float = float("inf"), *, open_low: bool = False) -> Any:
    """A number in [low, high), or in (low, high) if ``open_low``."""
    return field(default=default, metadata={"low": low, "high": high, "open_low": open_low})


def default_cleaning() -> list[PartNode]:
    """The cleaning steps that a config without ``data.cleaning`` runs."""
    from recambio.data.cleaning import DEFAULT_CLEANING

    return [{"name": node} if isinstance(node, str) else dict(node) for node in DEFAULT_CLEANING]


@dataclass
class Overlap:
    """What becomes of training pairs that overlap with an evaluation set: the corpus's own splits and ``evaluation.sets``.

    ``remove`` leaves them out, ``report`` counts and lists them, ``keep`` doesn't look.

    Attributes:
        sentences: Pairs with a side that is a sentence of a set, case, punctuation and white space ignored.
        ngrams: Other pairs with a side that shares ``ngram_words`` words in a row with a sentence of a set.
        min_words: Fewest words of a sentence that counts; shorter ones ("Thank you.") stand in every corpus.
        ngram_words: How many in a row.
    """

    sentences: Literal["remove", "report", "keep"] = "remove"
    ngrams: Literal["remove", "report", "keep"] = "report"
    min_words: int = number(3, 1)
    ngram_words: int = number(13, 2)


@dataclass
class Regularization:
    """Subword regularization: other segmentations of the training pairs in each epoch. What is scored never has them.

    Attributes:
        alpha: For a unigram vocabulary. A segmentation comes with its probability to the power of alpha, normalised: the smaller, the more
            of them come; 0.1 to 0.5 is usual. None leaves every text its best one.
        dropout: For a bpe vocabulary. The share of merges left out of each step; 0.1 is usual.
    """

    alpha: float | None = number(None, 0, open_low=True)
    dropout: float = number(0.0, 0, 1)


@dataclass
class Data:
    """Where sentence pairs come from and how they become batches.

    Attributes:
        root: Folder that corpora and evaluation sets are looked up in; None means the environment variable RECAMBIO_DATA.
        batch_tokens: Size of a device batch in tokens, padding included, of the longer side.
        max_length: Longest training sentence in tokens, end of sentence included.
        overlap: Evaluation sentences in the training pairs.
        regularization: Sampling of their segmentations.
    """

    root: str | None = None
    corpus: PartNode = part("corpus", "embedded")
    cleaning: list[PartNode] = field(
        default_factory=lambda: default_cleaning(), metadata={"kind": "cleaning", "is_list": True}
    )
    tokenizer: PartNode = part("tokenizer", "unigram", vocabulary_size=8000)
    batch_tokens: int = number(4096, 1)
    max_length: int = number(128, 2)
    overlap: Overlap = field(default_factory=Overlap)
    regularization: Regularization = field(default_factory=Regularization)


@dataclass
class Encoder:
    """The encoder stack; what is unset is as ``model`` says. ``position_layers`` restricts position hooks to some layers."""

    n_layers: int = number(3, 1)
    attention: SiteNode = site("attention")
    normalization: SiteNode = site("normalization")
    feed_forward: SiteNode = site("feed_forward")
    activation: SiteNode = site("activation")
    positions: PartNode | None = site("positions", per_layer=False)
    block: PartNode | None = site("block", per_layer=False)
    position_layers: list[int] | None = None


@dataclass
class Decoder(Encoder):
    """The decoder stack: the encoder's keys, and attention to the encoder's output."""

    cross_attention: SiteNode = site("attention")


@dataclass
class Model:
    """The Transformer: sizes, and the part that stands at each kind's sites unless a stack names another."""

    d_model: int = number(256, 1)
    n_heads: int = number(4, 1)
    d_ff: int = number(1024, 1)
    dropout: float = number(0.1, 0, 1)
    attention: PartNode = part("attention", "multi_head")
    normalization: PartNode = part("normalization", "layer_norm")
    positions: PartNode = part("positions", "sinusoidal")
    feed_forward: PartNode = part("feed_forward", "mlp")
    activation: PartNode = part("activation", "relu")
    block: PartNode = part("block", "pre_norm")
    embedding: PartNode = part("embedding", "standard", tie="all")
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)


@dataclass
class Average:
    """What a run recommends in place of its best weights; at most one of the three.

    Attributes:
        last: The mean of the weights of so many last validations; 0 for none.
        best: The mean of the weights of so many validations with the best score in ``training.monitor``; 0 for none.
        ema: The best exponential moving average with this decay, updated at every step and validated in place of the weights.
    """

    last: int = number(0)
    best: int = number(0)
    ema: float | None = number(None, 0, 1, open_low=True)


@dataclass
class EarlyStopping:
    """Stop after ``patience`` validations without a gain of ``min_delta`` in ``training.monitor``; None never stops."""

    patience: int | None = number(None, 1)
    min_delta: float = number(0.0)


@dataclass
class Training:
    """Loss, optimiser and limits. Steps are optimiser steps.

    Attributes:
        max_steps, max_epochs, max_minutes: The first limit reached ends the run. Where ``max_minutes`` strikes depends on the
            machine, so a run that it ends can't be reproduced to the bit.
        clip: Largest gradient norm; None leaves gradients alone.
        accumulate: Device batches per rank and step.
        target_batch_tokens: Target tokens that a step should have, however many devices there are; chooses ``accumulate``.
        checkpoint_activations: Whether the backward pass computes each layer again, which takes less memory and more time.
        init_from: A run folder, or a weights file in one, to start from instead of random weights, with that run's vocabulary.
        profile: Whether some of the first steps are profiled; see ``profile.txt`` and ``profile.trace.json`` of the run folder.
        init_partial: Whether parts that differ from that run's start anew, instead of being refused.
        monitor: What chooses the best checkpoint: the score of greedy translations or the negative log-likelihood a token.
    """

    loss: PartNode = part("loss", "label_smoothing", smoothing=0.1)
    optimizer: PartNode = part("optimizer", "adamw")
    schedule: PartNode = part("schedule", "inverse_sqrt")
    max_steps: int | None = number(None, 1)
    max_epochs: int | None = number(None, 1)
    max_minutes: float | None = number(None, 0, open_low=True)
    clip: float | None = number(1.0, 0, open_low=True)
    accumulate: int = number(1, 1)
    target_batch_tokens: int | None = number(None, 1)
    average: Average = field(default_factory=Average)
    checkpoint_activations: bool = False
    init_from: str | None = None
    init_partial: bool = False
    monitor: Literal["bleu", "nll"] = "nll"
    validate_every: int = number(500, 1)
    log_every: int = number(50, 1)
    profile: bool = False
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)


@dataclass
class Trainer:
    """Hardware; handed to Lightning, but for ``compile``, ``threads`` and two precisions.

    Attributes:
        precision: ``auto`` is bf16-mixed where the device multiplies bfloat16 fast, 16-mixed on older CUDA devices, else 32. With
            bf16-true the weights are bfloat16 too.
        compile: Compile the layers.
        threads: torch's on CPU; None leaves torch's choice.
    """

    devices: int | str = number("auto", 1)  # type: ignore[arg-type]
    num_nodes: int = number(1, 1)
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    strategy: str = "auto"
    precision: Literal["32", "bf16-mixed", "16-mixed", "bf16-true", "auto"] = "32"
    compile: bool = False
    threads: int | None = number(None, 1)


@dataclass
class Decoding:
    """Translation.

    Attributes:
        search: Of evaluations and of ``recambio translate``.
        validation_search: The cheaper one that validations use.
        batch_tokens: Size of a batch in source tokens, padding included.
        max_ratio, max_extra: A translation has at most ``max_ratio * source tokens + max_extra`` tokens.
        ensemble: What is averaged where several runs translate together (``recambio translate RUN --with RUN2``).
        precision: Of the weights of linear maps and of the projection to the vocabulary: 32, bf16, or int8 (on x86 CPUs only). All else,
            softmax and log-probabilities too, is float32. For evaluations and translations; validations take the weights as they are.
        record_steps: Whether steps of few rows on CPU are recorded and replayed once they have come often enough, which is faster; the
            numbers differ by rounding.
    """

    search: PartNode = part("search", "beam", width=4, length_penalty=1.0)
    validation_search: PartNode = part("search", "greedy")
    batch_tokens: int = number(8192, 1)
    max_ratio: float = number(2.0, 0, open_low=True)
    max_extra: int = number(10)
    ensemble: Literal["probabilities", "log_probabilities"] = "probabilities"
    precision: Literal["32", "bf16", "int8"] = "32"
    record_steps: bool = True


@dataclass
class EvaluationSet:
    """Files of a test set: the source side, and one reference or several."""

    source: str
    reference: str | list[str]


@dataclass
class Evaluation:
    """Named test sets, and the corpus metrics to score them with."""

    sets: dict[str, EvaluationSet] = field(default_factory=dict)
    metrics: list[PartNode] = parts("metric", "bleu", "chrf", "ter")


@dataclass
class Wandb:
    """Weights & Biases; ``mode`` None is offline without a key and online with one."""

    project: str = "recambio"
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Tracking:
    """Where training curves go."""

    csv: bool = True
    wandb: Wandb | Literal[False] = False


@dataclass
class RunConfig:
    """A whole config."""

    name: str = "run"
    seed: int = number(1)
    plugins: list[str] = field(default_factory=list)
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    trainer: Trainer = field(default_factory=Trainer)
    decoding: Decoding = field(default_factory=Decoding)
    evaluation: Evaluation = field(default_factory=Evaluation)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass(frozen=True)
class Key:
    """One key of a section.

    Attributes:
        name: The key.
        annotation: Its type.
        kind: The kind of part it holds, or None.
        is_list: Holds a list of parts.
        per_layer: May hold a list with one part a layer.
        inherits: Unset, it is as ``model.<kind>`` says.
        section: The dataclass of the section it opens, or None.
        optional_section: May be true or false instead of a section.
        entries: The dataclass of each value of a mapping with free keys, or None.
        metadata: Range of a number.
    """

    name: str
    annotation: Any
    kind: str | None
    is_list: bool
    per_layer: bool
    inherits: bool
    section: type | None
    optional_section: bool
    entries: type | None
    metadata: Mapping[str, Any]


@functools.cache
def keys(section: type) -> dict[str, Key]:
    """The keys of a section, in the order of its definition."""
    hints = typing.get_type_hints(section)
    found = {}
    for f in dataclasses.fields(section):
        annotation = hints[f.name]
        arguments = typing.get_args(annotation)
        sections = [a for a in (annotation, *arguments) if dataclasses.is_dataclass(a)]
        is_mapping = typing.get_origin(annotation) is dict and bool(sections)
        found[f.name] = Key(
            f.name,
            annotation,
            kind=f.metadata.get("kind"),
            is_list=f.metadata.get("is_list", False),
            per_layer=f.metadata.get("per_layer", False),
            inherits=f.metadata.get("inherits", False),
            section=sections[0] if sections and not is_mapping else None,  # type: ignore[arg-type]
            optional_section=bool(sections) and not is_mapping and bool(arguments),
            entries=sections[0] if is_mapping else None,  # type: ignore[arg-type]
            metadata=f.metadata,
        )
    return found


def all_keys(section: type = RunConfig, at: str = "") -> Iterator[tuple[str, Key]]:
    """Every key below a section with its dotted path; free keys of mappings are not walked."""
    for name, key in keys(section).items():
        yield f"{at}{name}", key
        if key.section is not None:
            yield from all_keys(key.section, f"{at}{name}.")


def defaults(section: type) -> dict[str, Any]:
    """The defaults of a section as plain containers; sites that inherit are left out."""
    found: dict[str, Any] = {}
    for f in dataclasses.fields(section):
        if f.metadata.get("inherits"):
            continue
        if f.default_factory is not dataclasses.MISSING:
            value = f.default_factory()
        elif f.default is not dataclasses.MISSING:
            value = f.default
        else:
            continue
        is_section = dataclasses.is_dataclass(value) and not isinstance(value, type)
        found[f.name] = defaults(type(value)) if is_section else value
    return found
