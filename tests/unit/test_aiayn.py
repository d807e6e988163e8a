"""aiayn.yaml is the paper's base model: its figures, and the parameter counts of table 3 to the last parameter.

Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recambio import config
from recambio.experiment.build import model_spec
from recambio.model import Transformer

AIAYN = Path(__file__).resolve().parents[2] / "experiments" / "aiayn.yaml"


@dataclass(frozen=True)
class Shape:
    """A row of table 3."""

    layers: int = 6
    d_model: int = 512
    d_ff: int = 2048
    heads: int = 8
    d_k: int = 64
    d_v: int = 64

    def parameters(self, vocabulary: int) -> int:
        """By the paper's formulas: biases in the feed-forward network (equation 2), none in the projections (3.2.2)."""
        d, f = self.d_model, self.d_ff
        attention = self.heads * (d * self.d_k + d * self.d_k + d * self.d_v + self.d_v * d)
        feed_forward = d * f + f + f * d + d
        norm = 2 * d  # gain and bias
        encoder_layer = attention + feed_forward + 2 * norm  # 3.1
        decoder_layer = 2 * attention + feed_forward + 3 * norm
        # 3.4: one matrix for both embeddings and the output; 3.5: sinusoids have no parameters.
        return self.layers * (encoder_layer + decoder_layer) + vocabulary * d


BASE = Shape()
MILLIONS = 65
# Row, shape, millions of parameters in the column (a blank is the base model's), overrides of our config that make the shape.
ROWS: list[tuple[str, Shape, int, list[str]]] = [
    ("base", BASE, MILLIONS, []),
    *[
        (f"A h={h}", replace(BASE, heads=h, d_k=512 // h, d_v=512 // h), MILLIONS, [f"model.n_heads={h}"])
        for h in (1, 4, 16, 32)
    ],
    *[
        (f"C N={n}", replace(BASE, layers=n), m, [f"model.encoder.n_layers={n}", f"model.decoder.n_layers={n}"])
        for n, m in ((2, 36), (4, 50), (8, 80))
    ],
    *[
        (f"C d_model={d}", replace(BASE, d_model=d, d_k=d // 8, d_v=d // 8), m, [f"model.d_model={d}"])
        for d, m in ((256, 28), (1024, 168))
    ],
    *[(f"C d_ff={f}", replace(BASE, d_ff=f), m, [f"model.d_ff={f}"]) for f, m in ((1024, 53), (4096, 90))],
    *[(f"D dropout={p}", BASE, MILLIONS, [f"model.dropout={p}"]) for p in (0.0, 0.2)],
    *[(f"D smoothing={e}", BASE, MILLIONS, [f"training.loss.smoothing={e}"]) for e in (0.0, 0.2)],
]
# No attention here has keys that are narrower than values, so these shapes serve the formula alone.
ROWS_B = [(f"B d_k={k}", replace(BASE, d_k=k), m) for k, m in ((16, 58), (32, 60))]
BIG = Shape(d_model=1024, d_ff=4096, heads=16)


def built(*overrides: str) -> tuple[int, int]:
    """(parameters that are trained, vocabulary) of the model that the config says."""
    loaded = config.load(AIAYN, overrides)
    size = loaded.values.data.tokenizer["vocabulary_size"]
    with torch.device("meta"):
        model = Transformer(model_spec(loaded, size, size, is_joint=True))
    return sum(p.numel() for p in model.parameters() if p.requires_grad), size


def millions(count: int) -> int:
    return round(count / 1e6)


def fitting(rows: list[tuple[Shape, int]]) -> list[int]:
    """The vocabularies for which every row has the parameters of the column."""
    return [v for v in range(30_000, 50_000) if all(millions(shape.parameters(v)) == m for shape, m in rows)]


@pytest.mark.parametrize(("shape", "column", "overrides"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_model_has_the_parameters_of_table_3(shape: Shape, column: int, overrides: list[str]) -> None:
    count, vocabulary = built(*overrides)
    assert count == shape.parameters(vocabulary)
    assert millions(count) == column


def test_learned_positions_are_the_only_parameters_that_row_e_adds() -> None:
    count, vocabulary = built("model.positions=learned", "data.max_length=256")
    assert count - BASE.parameters(vocabulary) == 2 * 256 * 512
    assert millions(count) == MILLIONS


def test_the_vocabulary_is_one_that_all_rows_but_big_agree_on() -> None:
    rows = [(shape, m) for _, shape, m, _ in ROWS] + [(shape, m) for _, shape, m in ROWS_B]
    together = fitting(rows)
    assert (together[0], together[-1]) == (41_004, 41_208)
    _, vocabulary = built()
    assert vocabulary in together
    # The text's vocabulary isn't the table's; and no vocabulary gives both `base` and `big`.
    assert millions(BASE.parameters(37_000)) == 63
    alone = fitting([(BIG, 213)])
    assert (alone[0], alone[-1]) == (35_368, 36_344)
    count, _ = built("model.d_model=1024", "model.n_heads=16", "model.d_ff=4096")
    assert count == BIG.parameters(vocabulary) and millions(count) == 218


def test_the_figures_are_the_papers() -> None:
    leaves = config.load(AIAYN).leaves()
    figures: dict[str, Any] = {
        "model.block.name": "post_norm",
        "model.normalization.name": "layer_norm",
        "model.positions.name": "sinusoidal",
        "model.feed_forward.name": "mlp",
        "model.activation.name": "relu",
        "model.embedding.tie": "all",
        "model.embedding.scale": True,
        "model.embedding.output_bias": False,
        "model.dropout": 0.1,
        "model.attention.attention_dropout": 0.0,
        "data.tokenizer.name": "bpe",
        "data.tokenizer.joint": True,
        "training.target_batch_tokens": 25_000,
        "training.max_steps": 100_000,
        "training.optimizer.name": "adam",
        "training.optimizer.lr": 1.0,
        "training.optimizer.beta1": 0.9,
        "training.optimizer.beta2": 0.98,
        "training.optimizer.eps": 1e-9,
        "training.schedule.name": "noam",
        "training.schedule.warmup": 4_000,
        "training.clip": None,
        "training.loss.name": "label_smoothing",
        "training.loss.smoothing": 0.1,
        "training.average.last": 5,
        "decoding.search.name": "beam",
        "decoding.search.width": 4,
        "decoding.search.length_penalty": 0.6,
        "decoding.search.normalize": "gnmt",
        "decoding.max_ratio": 1.0,
        "decoding.max_extra": 50,
    }
    assert {key: leaves[key] for key in figures} == figures
    assert leaves["training.validate_every"] * 0.4 == pytest.approx(600), "seconds between checkpoints, 5.2 and 6.1"
