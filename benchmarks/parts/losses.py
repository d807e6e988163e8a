"""What each part learns of the embedded corpus in a few hundred steps, beside a model that knows no source.

The bar is a bigram model of the target side, with interpolation chosen on the validation set: a translator that ends above it has
learned less than which word follows which.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.parts.places import PLAIN, Place, places, reveals_order, spec_of
from recambio import config, registry
from recambio.data.batch import Batch, collate
from recambio.data.plan import Cursor, TrainingPlan, evaluation_plan
from recambio.data.prepare import Prepared
from recambio.experiment.prepare import prepared
from recambio.model import Transformer
from recambio.training.module import TranslationModule

STEPS, BATCH_TOKENS, PEAK = 300, 768, 3e-3
SIZES = {"d_model": 64, "n_heads": 4, "d_ff": 256, "dropout": 0.0, "max_length": 64}
N_LAYERS = 2


@dataclass(frozen=True)
class Learned:
    """Where a part ended.

    Attributes:
        nll: Nats a target token on the validation set.
        is_control: Whether it is there to show what is lost without it.
    """

    kind: str
    name: str
    nll: float
    is_control: bool


@functools.cache
def corpus() -> Prepared:
    """20,000 training pairs of the embedded corpus and 300 for validation."""
    registry.load_builtins()
    loaded = config.from_dict(
        {
            "data": {
                "corpus": {"name": "embedded", "train_size": 20000, "dev_size": 300, "test_size": 10},
                "tokenizer": {"name": "unigram", "vocabulary_size": 1000},
                "max_length": SIZES["max_length"],
            },
            "training": {"max_steps": 1},
        },
        check_hardware=False,
    )
    return prepared(loaded, ["train", "dev"], is_quiet=True)


def batches(split: str) -> list[Batch]:
    """The batches of `STEPS` steps, or all of the validation set."""
    data = corpus()
    store, tokenizer = data.stores[split], data.tokenizer
    special = {"pad_id": tokenizer.pad_id, "sos_id": tokenizer.sos_id, "eos_id": tokenizer.eos_id}
    lengths = store.lengths("source"), store.lengths("target")
    if split != "train":
        planned = evaluation_plan(*lengths, batch_tokens=4096, rank=0, ranks=1)
        return [collate(store.read(p.indices), p, **special) for p in planned]
    plan = TrainingPlan(
        *lengths, data_hash=store.content_hash, seed=1, batch_tokens=BATCH_TOKENS, ranks=1, accumulate=1
    )
    steps = plan.iterate(Cursor(), 0)
    return [collate(store.read(p.indices), p, **special) for _ in range(STEPS) for p in next(steps).batches]


def bigram() -> float:
    """Nats a validation token of ``w p(y | previous) + (1 - w) p(y)``, both with add-one counts, w the best of nine."""
    data = corpus()
    size = data.tokenizer.target_vocabulary_size
    pairs: Counter[tuple[int, int]] = Counter()
    singles: Counter[int] = Counter()
    for row in _targets("train"):
        pairs.update(itertools.pairwise(row))
        singles.update(row[1:])
    starts: Counter[int] = Counter()
    for (first, _), count in pairs.items():
        starts[first] += count
    total = sum(singles.values())
    scores = np.array(
        [
            ((pairs[a, b] + 1) / (starts[a] + size), (singles[b] + 1) / (total + size))
            for row in _targets("dev")
            for a, b in itertools.pairwise(row)
        ]
    )
    return min(float(-np.log(w * scores[:, 0] + (1 - w) * scores[:, 1]).mean()) for w in np.arange(1, 10) / 10)


def _targets(split: str) -> list[list[int]]:
    """Target sentences from SOS to EOS."""
    data = corpus()
    store = data.stores[split]
    return [[data.tokenizer.sos_id, *store.target(i).tolist()] for i in range(len(store))]


def learn(place: Place) -> Learned:
    """Train the plain model with this part at its sites for `STEPS` steps; every part sees the same batches."""
    tokenizer = corpus().tokenizer
    torch.manual_seed(1)
    spec = spec_of(
        place,
        {
            **SIZES,
            "source_vocabulary": tokenizer.source_vocabulary_size,
            "target_vocabulary": tokenizer.target_vocabulary_size,
        },
        N_LAYERS,
    )
    module = TranslationModule(
        Transformer(spec),
        registry.LOSS.create("cross_entropy", pad_id=tokenizer.pad_id),
        registry.OPTIMIZER.create({"name": "adamw", "lr": PEAK}),
        registry.SCHEDULE.create({"name": "cosine", "warmup": 50}, d_model=SIZES["d_model"], max_steps=STEPS),
        pad_id=tokenizer.pad_id,
        sos_id=tokenizer.sos_id,
        eos_id=tokenizer.eos_id,
        seed=1,
    )
    train = batches("train")
    module.model.calibrate(lambda: _discard(module.terms(train[0])))
    optimizer = torch.optim.AdamW(module.model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    module.model.train()
    for step, batch in enumerate(train, 1):
        terms, auxiliary = module.terms(batch)
        loss = terms.loss / batch.target_tokens
        for value, count in auxiliary.values():
            loss = loss + value / count.clamp(min=1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = PEAK * module.schedule.factor(step)
        optimizer.step()
    module.model.eval()
    with torch.no_grad():
        scored = [(float(module.terms(b)[0].nll), b.target_tokens) for b in batches("dev")]
    nll = sum(n for n, _ in scored) / sum(t for _, t in scored)
    return Learned(place.kind, place.name, nll if math.isfinite(nll) else math.inf, not reveals_order(place))


def _discard(_: object) -> None: ...


def measure(only: Sequence[str], say: Callable[[str], None] = lambda _: None) -> list[Learned]:
    """Train with every part."""
    found = []
    for place in places(only):
        found.append(learn(place))
        say(f"{place.label}: {found[-1].nll:.3f}")
    return found


def as_markdown(found: Sequence[Learned], bar: float) -> str:
    """A table of all parts, by kind and loss."""
    lines = [
        f"Bigram model of the target side: {bar:.3f} nats a token.",
        "",
        "| kind | part | nats a token | |",
        "| --- | --- | ---: | --- |",
    ]
    for kind in PLAIN:
        for row in sorted((r for r in found if r.kind == kind), key=lambda r: r.nll):
            remark = "control: a bag of words" if row.is_control else "" if row.nll < bar else "above the bigram model"
            lines.append(f"| {kind} | `{row.name}` | {row.nll:.3f} | {remark} |")
    return "\n".join(lines)
