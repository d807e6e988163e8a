"""Scores of contrastive items: equal to a loop over sentences, ties lose, and what is printed, written and shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from test_data_tokenizers import trained

from recambio.config import load as load_config
from recambio.data.tokenizers.base import Tokenizer
from recambio.errors import InputError
from recambio.evaluation.contrastive import Item, Scored, Tally, tally
from recambio.experiment.build import build_model
from recambio.experiment.contrast import ItemSet, SetScores, own_items, print_tables, score_items, written_by_hand
from recambio.experiment.report_contrasts import contrasts, read_contrasts
from recambio.experiment.translator import Translator

SMALL = [
    "model.d_model=16", "model.n_heads=2", "model.d_ff=24", "model.encoder.n_layers=1", "model.decoder.n_layers=2",
    "model.positions=rope", "decoding.batch_tokens=300",
]  # fmt: skip
ITEMS = [
    Item("one", "The cat eats fish.", "El gato come pescado.", ("El gato come  pescada.", "El gatos come pescado.")),
    Item("two", "Nobody sees it.", "Nadie lo ve.", ("Nadie ve lo.",)),
    Item(
        "one", "A very red house with the dog.", "Una casa muy roja con el perro.", ("Una casa muy rojo con el perro.",)
    ),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained("unigram")


@pytest.fixture(scope="module")
def make(tokenizer: Tokenizer, repository: Path):  # type: ignore[no-untyped-def]
    def translator(*overrides: str, scale: float = 0.3, seed: int = 0) -> Translator:
        config = load_config(repository / "experiments" / "tiny.yaml", [*SMALL, *overrides], check_hardware=False)
        model = build_model(config, tokenizer).double()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype) * scale)
        return Translator(config, model, tokenizer, Path())

    return translator


def naive(translator: Translator, source: str, target: str) -> tuple[float, int]:
    """The log-probability of one translation from one uncached pass over the whole sentence, and its tokens."""
    tokenizer, model = translator.tokenizer, translator.model
    (s,), (t,) = tokenizer.encode([source], "source"), tokenizer.encode([" ".join(target.split())], "target")
    wanted = [*t, tokenizer.eos_id]
    with torch.no_grad():
        hidden, _ = model(torch.tensor([[*s, tokenizer.eos_id]]), torch.tensor([[tokenizer.sos_id, *t]]))
        logits = model.logits(hidden)[0]
    logits[:, [tokenizer.sos_id, tokenizer.pad_id]] = float("-inf")
    table = logits.log_softmax(-1)
    return sum(float(table[i, token]) for i, token in enumerate(wanted)), len(wanted)


def test_scores_equal_a_loop_over_sentences(make) -> None:  # type: ignore[no-untyped-def]
    translator = make()
    result = score_items(translator, ItemSet("items", ITEMS, {}))
    assert [s.item for s in result.scored] == ITEMS and result.n_left_out == 0
    for one in result.scored:
        texts = [one.item.right, *one.item.wrong]
        wanted = [naive(translator, one.item.source, text) for text in texts]
        assert one.log_probabilities == pytest.approx([p for p, _ in wanted], abs=1e-4)
        assert one.n_tokens == [n for _, n in wanted]
    # in one batch, or each sentence in its own
    for batch_tokens in (1, 100_000):
        again = score_items(make(f"decoding.batch_tokens={batch_tokens}"), ItemSet("items", ITEMS, {}))
        for one, other in zip(result.scored, again.scored, strict=True):
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def scored(phenomenon: str, *numbers: float, n_tokens: tuple[int, ...] = ()) -> Scored:
    wrong = tuple(f"mal {i}" for i in range(len(numbers) - 1))
    return Scored(Item(phenomenon, "a", "bien", wrong), numbers, n_tokens or (2,) * len(numbers))


def test_an_item_is_right_above_every_wrong_translation_and_a_tie_is_not() -> None:
    cases = [((-1.0, -2.0), True), ((-1.0, -1.0), False), ((-2.0, -3.0, -1.0), False), ((-2.0, -3.0, -2.5), True)]
    for numbers, is_right in cases:
        assert scored("x", *numbers).as_dict()["is_right"] is is_right, numbers
    assert scored("x", -2.0, -3.0, -2.5).margin == 0.5
    # a short wrong translation wins by the sum and loses by the mean
    longer = scored("x", -6.0, -5.0, n_tokens=(4, 2))
    assert longer.margin == -1.0 and longer.token_margin == 1.0
    one = Tally.of([longer])
    assert (one.accuracy.correct, one.token_accuracy.correct) == (0, 1)


def test_a_tally_by_phenomenon() -> None:
    eight = [scored("b", -1.0, -2.0)] * 8 + [scored("b", -2.0, -1.0)] * 2
    found = tally([*eight, scored("a", -1.0, -2.0, -3.0)])
    assert list(found) == ["b", "a"]
    b = found["b"].as_dict()
    assert (b["n"], b["accuracy"], b["chance"], b["margin"], b["token_margin"]) == (10, 80.0, 50.0, 0.6, 0.3)
    # Wilson's interval of 8 of 10, from tables
    assert (b["low"], b["high"]) == (pytest.approx(49.02, abs=0.01), pytest.approx(94.33, abs=0.01))
    assert found["a"].chance == pytest.approx(100 / 3)


def test_a_random_model_is_near_chance(make) -> None:  # type: ignore[no-untyped-def]
    found = score_items(
        make("decoding.batch_tokens=8192", scale=0.0), ItemSet("hand", written_by_hand().items[::4], {})
    ).total
    assert abs(found.accuracy.exact - found.chance) < 15


def test_items_beyond_the_positions_are_left_out_and_said(make, caplog) -> None:  # type: ignore[no-untyped-def]
    bounded = make("model.positions=learned", "data.max_length=24")
    result = score_items(bounded, ItemSet("items", ITEMS, {}))
    assert [s.item for s in result.scored] == ITEMS[:2] and result.n_left_out == 1
    assert "items: 1 items left out; this run's positions end at 24 tokens" in caplog.text
    with pytest.raises(InputError, match="items: every item has more than the 24 tokens"):
        score_items(bounded, ItemSet("items", ITEMS[2:], {}))


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    for name, text in (("a/x.tsv", "A.\tB.\tC.\n"), ("b/x.tsv", "A.\tB.\tC.\n"), ("c/y.tsv", "A.\n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        own_items(sorted(tmp_path.glob("*/*.tsv")))
    first, second = caught.value.problems
    assert "y.tsv:1: has 1 column" in first
    assert second == "--items: 2 files are called 'x'; the name is the phenomenon's, so give each its own"


def results() -> SetScores:
    numbers = [scored("<b>", -1.0, -2.0), scored("<b>", -3.0, -1.0), scored("negation", -1.0, -2.0, -1.5)]
    return SetScores(ItemSet("hand", [s.item for s in numbers], {"<b>": "a <i>tag</i>"}), numbers)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([results()], "runs/x")
    title, head, *rows, foot = capsys.readouterr().out.splitlines()
    assert title == "runs/x on hand (3 items)" and head.split()[:4] == ["phenomenon", "items", "right", "95"]
    assert rows[0].split()[:4] == ["<b>", "2", "50.0", "%"] and rows[-1].split()[:4] == ["all", "3", "66.7", "%"]
    assert "33.3 %" in rows[1] and "-0.50" in rows[0] and "in nats" in foot


def test_the_report_shows_what_was_found_and_escapes_it(tmp_path: Path) -> None:
    assert contrasts(read_contrasts(tmp_path)) is None
    (tmp_path / "eval").mkdir()
    path = tmp_path / "eval" / "contrastive.json"
    for broken in ("{", "[]", '{"sets": {}}', '{"contrastive": {"sources": 3}}'):
        path.write_text(broken)
        assert contrasts(read_contrasts(tmp_path)) is None
    path.write_text(json.dumps({"contrastive": {"sources": {"hand": results().as_dict()}}}))
    page = contrasts(read_contrasts(tmp_path))
    assert page is not None and "written by hand" in page and "66.7 %" in page
    assert "<b>" not in page and "&lt;b&gt;" in page and "a &lt;i&gt;tag" in page
    (example,) = re.findall(r"<dl>.*?</dl>", page)
    assert "-3.00 right" in example and "-1.00 wrong" in example
