"""``eval/<set>.html``: every sentence beside its translation and reference, one page for a browser without a network."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from recambio.evaluation.chrf import CHRF
from recambio.evaluation.result import SetResult, file_stem
from recambio.evaluation.slices import ERRORS
from recambio.experiment.markup import Markup, join, tag
from recambio.experiment.report_sections import word_difference
from recambio.files import write_text

MAX_SENTENCES = 5000
"""Rows of a page: browsers take seconds for more."""

STYLE = """
body { max-width: none; } td { vertical-align: top; white-space: normal; } td.text { width: 31%; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
"""

SCRIPT = """
const body = document.querySelector("tbody"), heads = document.querySelectorAll("th[data-key]");
heads.forEach(head => head.querySelector("button").addEventListener("click", () => {
  const key = head.dataset.key, isUp = head.getAttribute("aria-sort") !== "ascending", sign = isUp ? 1 : -1;
  heads.forEach(other => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const rows = Array.from(body.rows);
  rows.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]) || a.dataset.line - b.dataset.line);
  body.append(...rows);
}));
"""


def write_page(run_dir: Path, result: SetResult) -> Path:
    """Write the page of a set.

    Args:
        run_dir: The run folder.
        result: The set's evaluation.

    Returns:
        The page.
    """
    path = run_dir / "eval" / f"{file_stem(result.name)}.html"
    write_text(path, render_page(result))
    return path


def render_page(result: SetResult) -> str:
    """The page: a row for each sentence, the words that only one side has marked, sorted by a click on a heading.

    Args:
        result: The set's evaluation.
    """
    metric = CHRF()
    n = min(result.n, MAX_SENTENCES)
    references = [side[:n] for side in result.references]
    scores = metric.from_many(metric.statistics(result.hypotheses[:n], references))
    rows = [_row(result, i, float(score)) for i, score in enumerate(scores)]
    keys = (("line", "line"), ("score", metric.label), ("words", "words"), ("errors", "errors"))
    head = [tag("th", tag("button", title, type="button"), data_key=key, aria_sort="none") for key, title in keys]
    head += [tag("th", title) for title in ("source", "translation", "reference")]
    corpus = ", ".join(f"{s.name} {s.score:.2f}" for s in result.scores.values())
    about = f"{result.n:,} sentences. {corpus}. "
    if n < result.n:
        about += f"The first {n:,} are shown. "
    about += f"{metric.label} of a sentence says where to look; it is no part of the corpus score. A click on a heading sorts."
    body = join(
        [
            tag("h1", result.name),
            tag("p", about),
            tag("p", tag("ins", "only in the translation"), " ", tag("del", "only in the reference")),
            tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", rows)), class_="scroll"),
            Markup(f"<script>{SCRIPT}</script>"),
        ]
    )
    css = resources.files("recambio.experiment").joinpath("report.css").read_text(encoding="utf-8") + STYLE
    # only this script may run, and nothing may be fetched, should a text ever get past the escaping
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    top = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"{tag('title', f'{result.name}: sentences side by side')}<style>{css}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{top}</head>\n<body>{body}</body>\n</html>\n'


def _row(result: SetResult, i: int, score: float) -> Markup:
    source, hypothesis = result.sources[i], result.hypotheses[i]
    references = [side[i] for side in result.references]
    found = [name for name, error in ERRORS.items() if error(source, hypothesis, references)]
    n_words = len(source.split())
    if hypothesis in references:
        wanted, came = join(references[:1]), join([hypothesis])
    else:
        wanted, came = word_difference(references[0], hypothesis)
    others = [tag("p", tag("small", other)) for other in references[1:]]
    return tag(
        "tr",
        tag("td", i + 1, class_="n"),
        tag("td", f"{score:.1f}", class_="n"),
        tag("td", n_words, class_="n"),
        tag("td", tag("small", ", ".join(found))),
        tag("td", source, class_="text"),
        tag("td", came or tag("small", "(empty)"), class_="text"),
        tag("td", wanted, others, class_="text"),
        data_line=i + 1,
        data_score=f"{score:.4f}",
        data_words=n_words,
        data_errors=len(found),
    )
