"""A leak in the training data of a real run: removed, said, and in its manifest and report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LEAK = ("The red house of my father is large.", "La casa roja de mi padre es grande.")


@pytest.fixture
def leaking(project: Path) -> Path:
    """``micro`` on files whose training pairs hold a test sentence, twice, and one of a set of the config."""
    from recambio.data.grammar import generate

    pairs = [(p.source, p.target) for p in generate("train", 400, 1)]
    dev = [(p.source, p.target) for p in generate("dev", 10, 1)]
    files = {
        "train": [
            *pairs,
            LEAK,
            (LEAK[0].upper(), "Otra cosa del todo distinta."),
            ("A sentence of the news.", "Otra frase."),
        ],
        "dev": dev,
        "test": [LEAK],
        "news": [("A sentence of the news!", "Una frase de las noticias.")],
    }
    for name, rows in files.items():
        for side, language in enumerate(("en", "es")):
            (project / f"{name}.{language}").write_text("".join(f"{row[side]}\n" for row in rows), encoding="utf-8")
    (project / "leaking.yaml").write_text(
        "extends: experiments/micro.yaml\nname: leaking\n"
        "data: {corpus: {name: moses, train: train, dev: dev, test: test}}\n"
        "training: {max_steps: 10, average: {last: 0}}\n"
        "evaluation: {sets: {news: {source: news.en, reference: news.es}}}\n"
    )
    return project


def test_a_run_says_what_it_kept_out(recambio, leaking: Path) -> None:  # type: ignore[no-untyped-def]
    result = recambio("train", "leaking.yaml")
    assert result.returncode == 0, result.stderr
    said = "training pairs that stood in test: 2 removed (1 exact, 1 but for case, punctuation and white space)"
    assert said in result.stderr
    run = leaking / "runs" / "leaking"
    train = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["data"]["train"]
    assert train["dropped"]["overlap with test"] == 2 and train["dropped"]["overlap with news"] == 1
    assert train["overlap"]["sets"]["test"] == {"size": 1, "exact": 1, "normalised": 1, "ngrams": 0}
    assert train["overlap"]["pairs"] == {"sentences": 3, "ngrams": 0} and train["overlap"]["sentences"] == "remove"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Training pairs that stood in evaluation sets" in page and "2 removed" in page


def test_a_resumed_run_must_find_the_same_training_pairs(recambio, leaking: Path) -> None:  # type: ignore[no-untyped-def]
    assert recambio("train", "leaking.yaml").returncode == 0
    manifest = leaking / "runs" / "leaking" / "manifest.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**values, "finished": False, "trained": False}), encoding="utf-8")
    config = leaking / "leaking.yaml"
    text = config.read_text()
    config.write_text(text[: text.index("evaluation:")])
    more = recambio("train", "leaking.yaml", "--resume")
    assert more.returncode == 2
    assert more.stderr.splitlines()[-1].startswith(
        "error: data: the training pairs aren't those that runs/leaking was started with"
    )
    # A set that takes no pair away may come and go.
    config.write_text(text)
    (leaking / "other.en").write_text("Nobody has said this before.\n")
    (leaking / "other.es").write_text("Nadie ha dicho esto antes.\n")
    same = recambio(
        "train", "leaking.yaml", "--resume", "evaluation.sets.other={source: other.en, reference: other.es}"
    )
    assert same.returncode == 0, same.stderr
