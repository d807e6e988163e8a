"""The page of a set's sentences: complete, escaped, self-contained, and sortable by what its rows carry."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sacrebleu.metrics.chrf import CHRF as LibraryCHRF

from recambio.evaluation import SetResult, evaluate_set
from recambio.experiment import side_by_side
from recambio.experiment.side_by_side import render_page, write_page

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"
SOURCES = ["The cat eats fish.", ATTACK, "Where is Tom?"]
REFERENCES = ["El gato come pescado.", "</style></title>", "¿Dónde está Tom?"]
HYPOTHESES = ["El perro come pescado.", ATTACK, ""]


class Page(HTMLParser):
    """Collects the rows of the table, scripts, and everything that could reach the network."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, str | None]] = []
        self.cells: list[list[str]] = []
        self.marked: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.heads: list[str | None] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not {"src", "href"} & set(given) and not any(key.startswith("on") for key in given)
        assert tag not in ("img", "iframe", "link", "object")
        if tag != "meta":
            self.open.append(tag)
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        if tag == "th" and "data-key" in given:
            self.heads.append(given["data-key"])
        if tag == "tr" and given:
            self.rows.append(given)
            self.cells.append([])
        if tag == "td":
            self.cells[-1].append("")
        if tag in ("ins", "del"):
            self.marked.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        if "td" in self.open:
            self.cells[-1][-1] += data
            if self.open[-1] in ("ins", "del"):
                self.marked[-1] = (self.open[-1], data)


def result(name: str = "test") -> SetResult:
    return evaluate_set(name, SOURCES, HYPOTHESES, [REFERENCES, ["otro"] * 3], None, ["bleu"], 0)


def test_every_sentence_stands_beside_its_translation_and_references(tmp_path: Path):
    (tmp_path / "eval").mkdir()
    path = write_page(tmp_path, result("news/test"))
    assert path == tmp_path / "eval" / "news__test.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert [cells[4] for cells in page.cells] == SOURCES
    assert [cells[5] for cells in page.cells] == [*HYPOTHESES[:2], "(empty)"]
    assert [cells[6] for cells in page.cells] == [f"{r}otro" for r in REFERENCES]
    assert page.marked.index(("ins", "perro")) >= 0 and ("del", "gato") in page.marked
    assert page.cells[2][3] == "unfinished"


def test_rows_carry_what_the_script_sorts_by():
    page = Page(render_page(result()))
    assert page.heads == ["line", "score", "words", "errors"]
    for i, row in enumerate(page.rows):
        assert all(f"data-{key}" in row for key in page.heads)
        expected = LibraryCHRF().sentence_score(HYPOTHESES[i], [REFERENCES[i], "otro"]).score
        assert float(str(row["data-score"])) == pytest.approx(expected, abs=1e-4)
        assert row["data-line"] == str(i + 1)
    assert [row["data-words"] for row in page.rows] == ["4", "3", "3"]


def test_only_its_own_script_may_run():
    page = Page(render_page(result(ATTACK)))
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "http" not in re.sub(r"http-equiv", "", render_page(result()))


def test_a_very_large_set_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(side_by_side, "MAX_SENTENCES", 2)
    text = render_page(result())
    assert len(Page(text).rows) == 2 and "3 sentences." in text and "The first 2 are shown." in text
