"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from recambio.data.corpora.records import RecordCorpus, RecordPairs, look_up
from recambio.data.pairs import NOT_UTF8, OnBad, Pair, read_lines
from recambio.registry import CORPUS, Card

NOT_JSON = "not JSON"


@CORPUS.register(
    "jsonl",
    card=Card(
        claim="Files of one JSON object a line, two fields of which are the sides of a pair; plain or compressed (.gz, .xz, .zst).",
        example={"train": "mine/train.jsonl", "dev": "mine/dev.jsonl"},
    ),
)
class JsonlCorpus(RecordCorpus):
    """Files of one JSON object a line, plain or with ``.gz``, ``.xz`` or ``.zst``."""

    format = "jsonl"

    def read_file(self, path: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
        pairs = RecordPairs(str(path), "line", self.fields, strict=strict, on_bad=on_bad)
        first, second = self.field_paths
        for line in read_lines(path, strict):
            if line is None:
                pairs.leave_out(NOT_UTF8, NOT_UTF8)
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                pairs.leave_out(NOT_JSON, f"is not JSON ({error.msg} at column {error.colno})")
                continue
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, or too many brackets
                pairs.leave_out(NOT_JSON, f"is no JSON that can be read ({error})")
                continue
            if not isinstance(record, dict):
                pairs.leave_out(NOT_JSON, f"is not a JSON object but {type(record).__name__}")
            elif (pair := pairs.take(look_up(record, first), look_up(record, second), record)) is not None:
                yield pair
        pairs.finish()
