"""A folder laid out like a data set's repository on the Hugging Face hub: which files belong to a split.

en-es/train-00000-of-00002.parquet      the config's folder, and the split's shards
data/validation.jsonl.gz                without configs, in the folder itself or in data/
en-es/test/0000.parquet                 a folder for each split
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from recambio.errors import InputError

_FORMAT = r"\.(?:parquet|jsonl(?:\.(?:gz|xz|zst))?)"
_SHARD = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?")


def split_files(folder: Path, config: str | None, split: str, option: str) -> list[Path]:
    """The files of a split, in order.

    Args:
        folder: The data set.
        config: The folder of its config, or None.
        split: The split's name in the data set.
        option: The option of ``data.corpus`` that names the split.

    Raises:
        InputError: There are none, a shard is missing, or they are of several kinds.
    """
    base = folder if config is None else folder / config
    if not base.is_dir():
        raise InputError(f"data.corpus.config: {folder} has no folder {config!r}; it has {_listed(folder)}")
    named = re.compile(rf"{re.escape(split)}(?P<shard>{_SHARD.pattern})?(?P<format>{_FORMAT})")
    within = re.compile(rf".+(?P<format>{_FORMAT})")
    for place, pattern in ((base, named), (base / "data", named), (base / split, within)):
        found = {path: match for path in _files(place) if (match := pattern.fullmatch(path.name))}
        if found:
            problems = list(_problems(place, split, {path: match["format"] for path, match in found.items()}))
            if problems:
                raise InputError(problems)
            return list(found)
    raise InputError(
        f"data.corpus.{option}: {base} has no .parquet or .jsonl file of the split {split!r}; it has {_listed(base)}"
    )


def _problems(place: Path, split: str, formats: dict[Path, str]) -> Iterator[str]:
    shards = {path: _SHARD.search(path.name) for path in formats}
    kinds = {(formats[path], shard[2] if shard else "") for path, shard in shards.items()}
    if len(kinds) > 1:
        names = ", ".join(path.name for path in formats)
        yield f"{place}: has the split {split!r} several times ({names}); keep one of them"
        return
    ((_, total),) = kinds
    there = {int(shard[1]) for shard in shards.values() if shard}
    if total and (missing := sorted(set(range(int(total))) - there)):
        numbers = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        yield f"{place}: of the {int(total)} files of the split {split!r}, number {numbers} is missing; fetch it"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "nothing"
