"""The report and the summary of a run: complete, self-contained, inert, and readable when parts are missing."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recambio.evaluation import SetResult, evaluate_set, write_results
from recambio.experiment.curves import Series, line_chart, log_ticks, number_text, read_metrics, thinned, ticks
from recambio.experiment.markup import Markup, join, tag
from recambio.experiment.report import read_run, render, write_report
from recambio.experiment.report_sections import phenomenon_descriptions, word_difference
from recambio.experiment.summary import print_scores, print_summary

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"

PAIRS = [
    ("The cat eats the fish.", "El gato come el pescado.", ("ser", "number_agreement")),
    ("The red cars are fast.", "Los coches rojos son rápidos.", ("number_agreement", "ser")),
    ("I like the book.", "Me gusta el libro.", ("gustar", "present")),
    ("She does not sleep.", "Ella no duerme.", ("negation", "irregular_verb", "dropped_pronoun")),
    ("Does Ana work here?", "¿Trabaja Ana aquí?", ("yes_no_question",)),
    ("We ate bread yesterday.", "Comimos pan ayer.", ("preterite", "dropped_pronoun")),
    ("The man who sings is tall.", "El hombre que canta es alto.", ("relative_clause", "ser")),
]


def results(n: int = 140) -> list[SetResult]:
    draw = random.Random(0)
    chosen = [PAIRS[i % len(PAIRS)] for i in range(n)]
    hypotheses = [t if draw.random() < 0.7 else t.replace("el ", "la ").replace("o", "a", 1) for _, t, _ in chosen]
    sides = [s for s, _, _ in chosen], hypotheses, [[t for _, t, _ in chosen]]
    tagged = evaluate_set("test", *sides, [p[2] for p in chosen], ["bleu", "chrf", "ter"], 50)
    plain = evaluate_set("tatoeba/test", *(x[:60] for x in sides[:2]), [sides[2][0][:60]], None, ["bleu", "chrf"], 50)
    return [tagged, plain]


def make_run(folder: Path, n_steps: int = 3000) -> list[SetResult]:
    """A run folder as training leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    columns = ["step", "epoch", "train/loss", "train/nll", "train/lr", "train/grad_norm", "train/tokens_per_second"]
    columns += ["train/wait", "train/tokens", "valid/nll", "valid/ppl", "valid/bleu"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for step in range(10, n_steps + 1, 10):
        nll = 0.4 + 7 * math.exp(-step / 350) + draw.gauss(0, 0.05)
        lr = 1e-3 * min(step / 400, (400 / step) ** 0.5)
        speed = 9000 + draw.gauss(0, 300)
        row = {
            "step": step,
            "epoch": float(step // 700),
            "train/loss": nll * 1.1 + 0.5,
            "train/nll": nll,
            "train/lr": lr,
        }
        row |= {"train/grad_norm": 0.5 + 3 * math.exp(-step / 200) + abs(draw.gauss(0, 0.1))}
        row |= {"train/tokens_per_second": speed, "train/tokens": step * 4000.0, "train/wait": 0.03}
        writer.writerow(row)
        if step % 250 == 0:
            valid = nll + 0.15
            bleu = 88 * (1 - math.exp(-step / 900))
            writer.writerow({"step": step, "valid/nll": valid, "valid/ppl": math.exp(valid), "valid/bleu": bleu})
    (folder / "metrics.csv").write_text(text.getvalue() + "3010,1.0,0.4", encoding="utf-8")
    config = {
        "name": "tiny",
        "seed": 1,
        "data": {"corpus": {"name": "embedded", "size": 60000}, "batch_tokens": 4096, "max_length": 64},
        "model": {
            "d_model": 256,
            "n_heads": 4,
            "attention": {"name": "multi_head", "bias": False},
            "positions": {"name": "rope", "base": 10000.0},
            "normalization": {"name": "layer_norm"},
            "feed_forward": {"name": "mlp"},
            "encoder": {"n_layers": 3},
            "decoder": {"n_layers": 3},
        },
        "training": {
            "max_steps": 3000,
            "clip": 1.0,
            "average": {"last": 5},
            "schedule": {"name": "inverse_sqrt", "warmup": 400},
        },
        "decoding": {"search": {"name": "beam", "width": 4}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    manifest = {
        "name": "tiny",
        "seed": 1,
        "versions": {"recambio": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "lightning": "2.6.6"},
        "data": {
            "hashes": {"train": "9f2c41d0e6b7", "dev": "17aa0be29c55"},
            "train": {
                "split": "train",
                "read": 60000,
                "kept": 57210,
                "dropped": {"duplicate": 2304, "too long": 401, "ratio": 85},
                "samples": [
                    {"reason": "ratio", "file": "", "line": 3, "source": "Yes.", "target": "Sí, claro que sí."}
                ],
            },
            "pairs": {"train": 57210, "dev": 1000, "test": 2000},
            "vocabulary": [4000, 4000],
        },
        "git": {"commit": "5f0e7d2", "dirty": False},
        "plugins": [],
        "precision": "32",
        "accelerator": "cpu",
        "devices": 1,
        "threads": 2,
        "parameters": 6_415_872,
        "tokens_seen": 12_000_000,
        "steps": 3000,
        "weights": "average",
        "best": {"step": 2750, "monitor": "nll", "score": 0.5512},
        "origins": {
            "name": "experiments/tiny.yaml:2",
            "model.positions.name": "command line",
            "training.max_steps": "experiments/tiny.yaml:14",
            "model.d_model": "default",
        },
        "finished": True,
        "started": "2026-03-02T10:00:00.000000+00:00",
        "ended": "2026-03-02T10:21:42.000000+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "weights.safetensors").write_bytes(b"")
    found = results()
    write_results(folder, found)
    return found


class Page(HTMLParser):
    """Collects tags with attributes and the text; fails on tags that don't match."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] != "style" else ""

    def named(self, name):
        return [attributes for tag_name, attributes in self.tags if tag_name == name]


def assert_inert(text: str) -> Page:
    """No script, nothing fetched, no handler."""
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form"} & {n for n, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(key.startswith("on") or key in ("src", "srcset", "data", "action") for key in attributes)
        if "href" in attributes:
            assert attributes["href"].startswith("#")
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S)) + "".join(
        a.get("style") or "" for _, a in page.tags
    )
    assert "url(" not in style and "@import" not in style and "</style" not in style
    return page


def test_report_shows_everything(tmp_path):
    found = make_run(tmp_path / "tiny")
    path = write_report(tmp_path / "tiny")
    assert path == tmp_path / "tiny" / "report.html"
    page = assert_inert(path.read_text(encoding="utf-8"))
    text = page.text
    for wanted in (
        found[0].scores["bleu"].signature,
        f"{found[0].scores['bleu'].score:.1f}",
        f"{found[1].scores['chrf'].low:.2f} to {found[1].scores['chrf'].high:.2f}",
        "tatoeba/test",
        "gustar",
        phenomenon_descriptions()["gustar"],
        "El hombre que canta es alto.",
        "experiments/tiny.yaml:14",
        "dropped: duplicate",
        "2,304",
        "2.13.0+cpu",
        "6,415,872",
        "21 min 42 s",
        "12,000,000",
    ):
        assert wanted in text, wanted
    assert re.search(r"(?<!\d)3 of \d+ settings differ from the defaults", text)
    assert "What is missing" not in text
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert ids == {a["href"][1:] for a in page.named("a")} and len(ids) == 9
    assert len(page.named("svg")) == 7
    assert "prefers-color-scheme" in path.read_text(encoding="utf-8")


def test_parts_of_a_mixture_are_shown(tmp_path):
    make_run(tmp_path / "tiny")
    manifest = json.loads((tmp_path / "tiny" / "manifest.json").read_text())
    manifest["data"]["parts"] = [{"name": "opus", "pairs": 54321, "weight": 0.5, "per_epoch": 27161}, 7]
    manifest["data"]["train"]["parts"] = [{"name": "opus", "read": 60000, "kept": 54321, "dropped": {"ratio": 5679}}]
    (tmp_path / "tiny" / "manifest.json").write_text(json.dumps(manifest))
    text = assert_inert(write_report(tmp_path / "tiny").read_text(encoding="utf-8")).text
    for wanted in ("opus", "54,321", "0.5", "27,161", "5679 ratio", "pairs an epoch"):
        assert wanted in text, wanted


def test_whatever_the_texts_hold_is_inert(tmp_path):
    make_run(tmp_path / "tiny")
    texts = [ATTACK, "</title></style>" + ATTACK, "]]><!--"]
    write_results(
        tmp_path / "tiny",
        [evaluate_set(ATTACK, texts, [ATTACK] * 3, [texts], [(ATTACK,)] * 3, ["bleu"], 0)],
    )
    manifest = json.loads((tmp_path / "tiny" / "manifest.json").read_text())
    manifest |= {"weights": ATTACK, "origins": {"name": ATTACK}, "started": ATTACK}
    manifest["data"] |= {"train": {"read": 1, "kept": 0, "dropped": {ATTACK: 1}}, ATTACK: ATTACK}
    manifest["data"]["parts"] = [{"name": ATTACK, "pairs": ATTACK, "weight": ATTACK}, ATTACK]
    manifest["data"]["train"]["parts"] = [{"name": ATTACK, "dropped": {ATTACK: ATTACK}}]
    manifest["versions"] = {ATTACK: ATTACK}
    (tmp_path / "tiny" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "tiny" / "config.yaml").write_text(
        yaml.safe_dump({"name": ATTACK, ATTACK: ATTACK, "model": {"block": ATTACK}})
    )
    (tmp_path / "tiny" / "metrics.csv").write_text('step,"<script>x</script>"\n1,2.0\n2,3.0\n')
    page = assert_inert(write_report(tmp_path / "tiny").read_text(encoding="utf-8"))
    assert ATTACK in page.text


def test_parts_that_are_missing_are_named(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    text = assert_inert(write_report(empty).read_text(encoding="utf-8")).text
    for name in ("manifest.json", "config.yaml", "metrics.csv", "eval/", "weights.safetensors"):
        assert f"{name}: " in text
    stopped = tmp_path / "stopped"
    make_run(stopped)
    for path in stopped.glob("eval/*"):
        path.unlink()
    (stopped / "weights.safetensors").unlink()
    (stopped / "manifest.json").write_text('{"name": "tiny", "seed"')
    page = assert_inert(write_report(stopped).read_text(encoding="utf-8"))
    assert "manifest.json: can't be read" in page.text and "no test set has been scored" in page.text
    assert len(page.named("svg")) == 7 and "max_steps" in page.text


def test_metrics_of_a_killed_run_are_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,a,b\n1,0.5,\n2,nan,3\n3,0.2")
    rows = read_metrics(path)
    assert [r["step"] for r in rows] == [1, 2] and rows[0] == {"step": 1, "a": 0.5} and math.isnan(rows[1]["a"])
    assert read_metrics(tmp_path / "none.csv") == []
    path.write_text("")
    assert read_metrics(path) == []


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-6, 1e9))
def test_ticks_cover_the_range_with_round_steps(low, size):
    found = ticks(low, low + size, 6)
    assert 2 <= len(found) <= 9
    step = found[1] - found[0]
    assert [b - a for a, b in pairwise(found)] == pytest.approx([step] * (len(found) - 1), rel=1e-3)
    slack = 1e-6 * step + 1e-9 * abs(low)
    assert found[0] <= low + slack and found[-1] >= low + size - slack
    assert len({number_text(t, step) for t in found}) == len(found)


@given(low=st.floats(1e-5, 1e5), factor=st.floats(1, 1e6))
def test_log_ticks_cover_the_range(low, factor):
    found = log_ticks(low, low * factor)
    assert found[0] <= low * (1 + 1e-9) and found[-1] >= low * factor * (1 - 1e-9)
    assert found == sorted(found) and 2 <= len(found) <= 14


def test_numbers_on_axes():
    values = (0, 0.25, 5, 5000, 20000, 1.5e6, 2e9, 8e-4, 3e-5, -20000)
    assert [number_text(v, 0.5) for v in (9000.0, 9000.5, 123456.5)] == ["9000", "9000.5", "123.4565k"]
    assert [number_text(v) for v in values] == [
        "0",
        "0.25",
        "5",
        "5000",
        "20k",
        "1.5M",
        "2G",
        "0.0008",
        "3e-05",
        "-20k",
    ]


def test_what_training_waited_for_has_a_chart_with_a_title(tmp_path: Path) -> None:
    make_run(tmp_path / "tiny")
    page = write_report(tmp_path / "tiny").read_text(encoding="utf-8")
    assert 'aria-label="Waiting for data: training ends at 0.03"' in page and ">train/wait<" not in page


def test_chart_places_points_and_explains_them():
    chart = line_chart("Loss", "nats", [Series("train", [(0, 4.0), (100, 2.0)]), Series("valid", [(100, 3.0)])])
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in dots]
    assert x0 < x1 == x2 and y0 < y2 < y1  # higher values stand higher, where y is less
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1)
    assert "train: 4 at step 0" in chart and "valid: 3 at step 100" in chart
    assert "optimiser step" in chart and "nats" in chart
    assert "nan" not in line_chart("flat", "", [Series("one", [(5, 1.0)])], is_log=True)


def test_thinning_keeps_the_ends_and_the_extremes():
    points = [(float(i), math.sin(i)) for i in range(10_000)]
    points[5_003] = (5003.0, 99.0)
    kept = thinned(points, 400)
    assert len(kept) <= 404 and kept[0] == points[0] and kept[-1] == points[-1] and (5003.0, 99.0) in kept
    assert kept == sorted(kept)
    assert thinned(points[:10], 400) == points[:10]


def test_markup_escapes_everything_else():
    assert tag("p", "<b>", tag("i", "&"), None, 3, class_='a"b') == '<p class="a&quot;b">&lt;b&gt;<i>&amp;</i>3</p>'
    assert join(["<", [Markup("<hr>")]]) == "&lt;<hr>"


def test_word_difference_marks_what_only_one_has():
    wanted, came = word_difference("La casa es grande.", "La casa está grande.")
    assert wanted == "La casa <del>es</del> grande." and came == "La casa <ins>está</ins> grande."
    for text in word_difference("<b>", "<i>"):
        assert "<b>" not in text and "<i>" not in text


# The summary ----------------------------------------------------------------------------------------------------------


def printed(width: int, run_dir: Path, found: list[SetResult], **options: object) -> str:
    stream = io.StringIO()
    print_summary(Console(file=stream, width=width, soft_wrap=True, highlight=False), run_dir, found, **options)
    return stream.getvalue()


def test_summary_says_what_a_person_wants_to_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_dir = Path("runs/tiny")
    found = make_run(run_dir)
    write_report(run_dir)
    text = printed(100, run_dir, found)
    score = found[0].scores["bleu"]
    assert f"{score.score:.2f}" in text and f"{score.low:.2f} to {score.high:.2f}" in text and score.signature in text
    assert "gustar" in text and phenomenon_descriptions()["gustar"].split(":")[0] in text
    assert text.count("source") >= 5 and text.count("reference") >= 5
    for path in ("weights.safetensors", "eval/test.hyp", "eval/tatoeba__test.hyp", "report.html", "metrics.csv"):
        assert f"runs/tiny/{path}" in text
    for command in ("make eval RUN=runs/tiny", "recambio translate runs/tiny", "recambio train runs/tiny/config.yaml"):
        assert command in text
    assert "\x1b" not in text and not re.search(r"[│┃╭─]", text)


def test_summary_fits_a_narrow_terminal_and_takes_texts_literally(tmp_path):
    run_dir = tmp_path / "r"
    run_dir.mkdir()
    texts = ["[bold]x[/bold] " + "palabra " * 30, "b"]
    found = [evaluate_set("s", ["a", "b"], texts, [["a", "b"]], None, ["bleu"], 0)]
    text = printed(40, run_dir, found)
    assert "[bold]x[/bold]" in text
    assert "weights.safetensors" not in text  # it isn't there
    assert "phenomen" not in text
    assert "copied_sources" not in text


def test_scores_on_standard_output(tmp_path, capsys):
    found = results()
    found[1].warnings.append("doubtful: yes")
    print_scores(found, "runs/tiny")
    out, err = capsys.readouterr()
    score = found[0].scores["ter"]
    assert f"{score.score:.2f}" in out and score.signature in out and "tatoeba/test" in out
    assert err.strip() == "warning: tatoeba/test: doubtful: yes" and "doubtful" not in out
    lines = out.splitlines()
    assert lines[1].split() == ["set", "sentences", "BLEU", "95", "%", "chrF2", "95", "%", "TER", "95", "%", "exact"]
    assert [line.split()[:3] for line in lines[2:4]] == [
        [r.name, str(r.n), f"{r.scores['bleu'].score:.2f}"] for r in found
    ]
    assert len(lines) == 4 + len({s.signature for r in found for s in r.scores.values()})
    print_scores(found[1:], "runs/tiny")
    assert capsys.readouterr().out.startswith("runs/tiny on tatoeba/test (60 sentences)\n  BLEU ")


def test_report_of_the_folder_it_stands_in(tmp_path, monkeypatch):
    make_run(tmp_path / "tiny", 100)
    monkeypatch.chdir(tmp_path / "tiny")
    assert "<title>tiny: recambio report</title>" in render(read_run(Path(".")))
