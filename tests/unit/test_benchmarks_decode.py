"""Decoding beside the engines: who takes part, what is compared, the tables; nothing here is timed."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="bench: transformers is not installed")

from benchmarks.decode.measure import Measured
from benchmarks.decode.report import as_json, as_markdown
from benchmarks.decode.rows import CONTENDERS, Row, rows_of, takes_part
from benchmarks.peers.sizes import SIZES

ENVIRONMENT = {"command": "bench", "versions": {}, "cpu": "cpu", "cpu_flags": [], "threads": 1}


def test_a_row_is_compared_with_the_fastest_on_torch_round_by_round() -> None:
    seconds = {"recambio-fp32": [1.0, 2.0, 1.0], "marian-fp32": [3.0, 6.0, 3.0], "marian-bf16": [2.0, 4.0, 2.0]}
    row = Measured(Row("greedy", 32), {**seconds, "ctranslate2-fp32": [0.5, 1.0, 0.5]}, {"marian-fp32": 0.99})
    assert row.best("torch") == "marian-bf16"
    assert row.rate("marian-fp32").median == pytest.approx(32 / 3)
    printed = as_markdown(SIZES["small"], list(CONTENDERS.values()), [row], ENVIRONMENT)
    assert "| greedy, batch 32 | **2.00** (2.00-2.00) | - | **0.50** (0.50-0.50) | - | - |" in printed
    assert "99.0%" in printed
    stored = as_json(SIZES["small"], [row], ENVIRONMENT)["rows"][0]
    assert stored["ratios"]["fp32 / best on torch"]["median"] == 2.0
    assert stored["ratios"]["int8 / CTranslate2 int8"] is None


def test_nobody_waits_for_a_toolkit_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.decode.rows.importlib.util.find_spec", lambda name: name)
    joey = CONTENDERS["joeynmt-fp32"]
    assert [r.name for r in rows_of(SIZES["base"]) if takes_part(joey, r, SIZES["base"])] == [
        "greedy, batch 1", "beam 4, batch 1", "greedy, batch 32",
    ]  # fmt: skip
    assert all(takes_part(CONTENDERS["ctranslate2-int8"], r, SIZES["base"]) for r in rows_of(SIZES["base"]))
