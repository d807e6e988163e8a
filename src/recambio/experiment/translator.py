"""A finished run, ready to translate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from recambio.config import Config
from recambio.config import load as load_config
from recambio.data.cleaning.base import Cleaner
from recambio.data.tokenizers.base import Tokenizer, load_tokenizer
from recambio.decoding.generate import generate
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.build import build_model, build_scorer, build_search, longest_target, set_threads
from recambio.model.transformer import Transformer
from recambio.model.weights import load_weights
from recambio.plugins import verify_plugins

CHECKPOINTS = ("best", "last", "average")


class Translator:
    """A model with its tokenizer and search.

    Args:
        config: Of the run.
        model: With its weights.
        tokenizer: Of the run.
        run_dir: Where it came from.
        search: Replaces the config's.
    """

    def __init__(
        self, config: Config, model: Transformer, tokenizer: Tokenizer, run_dir: Path, search: Search | None = None
    ) -> None:
        self.config = config
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.run_dir = run_dir
        self.search = search or build_search(config.values.decoding.search)
        self.scorer = build_scorer(self.model, tokenizer)
        self._cleaner = Cleaner(config.values.data.cleaning)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """English lines to Spanish lines; an empty line stays empty."""
        return self.texts(self.hypotheses(lines))

    def hypotheses(self, lines: Sequence[str]) -> list[list[Hypothesis]]:
        """The search's hypotheses for each line, best first. Lines pass the normalisation that training text passed."""
        normalised = [self._cleaner.normalize_line(line) for line in lines]
        rows = self.tokenizer.encode(normalised, "source")
        return self.search_tokens([[*row, self.tokenizer.eos_id] for row in rows])

    def search_tokens(self, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        """Hypotheses for token ids, EOS included."""
        decoding = self.config.values.decoding
        limit = longest_target(self.config)
        too_long = [i for i, s in enumerate(sources) if limit is not None and len(s) > limit]
        if too_long:
            raise InputError(
                f"line {too_long[0] + 1}: has {len(sources[too_long[0]])} tokens, but learned positions end at {limit}; "
                "shorten it, or train with a larger data.max_length"
            )
        return generate(
            self.scorer,
            self.search,
            sources,
            batch_tokens=decoding.batch_tokens,
            max_ratio=decoding.max_ratio,
            max_extra=decoding.max_extra,
            max_length=limit,
        )

    def texts(self, hypotheses: Sequence[Sequence[Hypothesis]]) -> list[str]:
        """The best hypothesis of each sentence as text."""
        return self.tokenizer.decode([found[0].tokens for found in hypotheses])

    def stream(self, lines: Iterator[str], chunk: int = 512) -> Iterator[str]:
        """Translate lines as they come, ``chunk`` at a time."""
        held: list[str] = []
        for line in lines:
            held.append(line)
            if len(held) == chunk:
                yield from self.translate(held)
                held = []
        if held:
            yield from self.translate(held)


def load(
    run: str | Path,
    *,
    checkpoint: str | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    device: str | None = None,
) -> Translator:
    """Open a run folder.

    Args:
        run: The folder.
        checkpoint: ``best``, ``last``, ``average`` or a weights file; by default what the run recommends.
        overrides: ``key=value`` changes of the config, of decoding and evaluation only.
        plugins: Plugins that the run needs and that lie outside the project.
        device: ``cpu`` or ``cuda``; by default a GPU if there is one.

    Raises:
        InputError: The folder is no run, has no weights, or needs a plugin that is missing.
    """
    folder = run_folder.existing(run)
    config, tokenizer, _ = open_run(folder, overrides=overrides, plugins=plugins)
    model = build_model(config, tokenizer)
    load_weights(model, weights_path(folder, checkpoint))
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Translator(config, model.to(place), tokenizer, folder)


def open_run(
    folder: Path, *, overrides: Sequence[str] = (), plugins: Sequence[str] = ()
) -> tuple[Config, Tokenizer, Search]:
    """A run's config, tokenizer and search, without its model; torch's threads are bounded as the config says.

    Args:
        folder: The run folder.
        overrides: ``key=value`` changes of the config, of decoding and evaluation only.
        plugins: Plugins that the run needs and that lie outside the project.

    Raises:
        InputError: A plugin is missing, or a change is none that a trained run takes.
    """
    verify_plugins(run_folder.read_manifest(folder).plugins, folder, plugins)
    for override in overrides:
        if not override.startswith(("decoding.", "evaluation.", "data.root=", "trainer.threads=")):
            raise InputError(
                f"{override.split('=')[0]}: a trained run takes changes of decoding.* and evaluation.* only"
            )
    config = load_config(folder / "config.yaml", overrides, plugins_are_loaded=True, check_hardware=False)
    set_threads(config.values.trainer.threads)
    return config, load_tokenizer(folder), build_search(config.values.decoding.search)


def weights_path(folder: Path, checkpoint: str | None) -> Path:
    """The weights file that ``--checkpoint`` names.

    Raises:
        InputError: There is none.
    """
    if checkpoint is None:
        path = folder / "weights.safetensors"
        if not path.is_file():
            raise InputError(
                f"{folder}: has no weights.safetensors; the run didn't finish: resume it, or pick --checkpoint best or last"
            )
        return path
    if checkpoint in CHECKPOINTS:
        path = folder / "checkpoints" / ("last.ckpt" if checkpoint == "last" else f"{checkpoint}.safetensors")
        if not path.is_file():
            raise InputError(f"--checkpoint {checkpoint}: {path} doesn't exist; the run has {_available(folder)}")
        return path
    return Path(checkpoint)


def _available(folder: Path) -> str:
    names = [p.name for p in sorted((folder / "checkpoints").glob("*.*"))] if (folder / "checkpoints").is_dir() else []
    return ", ".join(names) or "none"
