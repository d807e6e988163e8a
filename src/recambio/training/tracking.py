"""Where a run's numbers go while it trains: ``metrics.csv`` and, if asked for, Weights & Biases.

This is the only module that knows W&B. The run folder alone always holds everything; W&B is a copy of it for the browser.
"""

from __future__ import annotations

import csv as csv_format
import importlib.util
import io
import netrc
import os
import secrets
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from recambio.errors import InputError
from recambio.files import replacing, write_text

Mode = Literal["online", "offline", "disabled", "shared"]

WANDB_OPTIONS = ("project", "entity", "mode", "group", "job_type", "tags", "notes")
"""What ``tracking.wandb`` may set; everything else follows from the run."""

_FIRST_COLUMNS = ("step", "epoch")


def make_loggers(
    run_dir: Path,
    config: Mapping[str, Any],
    *,
    csv: bool = True,
    wandb: bool | Mapping[str, Any] = False,
    run_name: str | None = None,
    resume_id: str | None = None,
    resume_step: int | None = None,
) -> list[Logger]:
    """The loggers of a run. Nothing is written, and W&B isn't started, before something is logged on rank 0.

    Args:
        run_dir: The run folder.
        config: The resolved config as plain data.
        csv: Whether to write ``metrics.csv``.
        wandb: Whether to log to W&B; or its options, of :data:`WANDB_OPTIONS`.
        run_name: What W&B shows; the folder's name unless given.
        resume_id: W&B's id of the run; by default the one in ``wandb/id``, or a new one.
        resume_step: Optimiser step of the checkpoint that the run goes on from: rows past it are dropped, because they will be
            written again. None: those from the first step that is logged on.

    Raises:
        InputError: W&B is asked for and not installed, an option is unknown, or ``WANDB_MODE`` asks for what can't be.
    """
    loggers: list[Logger] = []
    if csv:
        loggers.append(CSVMetrics(run_dir, resume_step))
    if wandb is not False and wandb is not None:
        run = wandb_run(run_dir, config, wandb, run_name, resume_id)
        if run is not None:
            loggers.append(run)
    return loggers


def wandb_run(
    run_dir: Path,
    config: Mapping[str, Any],
    wandb: bool | Mapping[str, Any],
    run_name: str | None = None,
    resume_id: str | None = None,
) -> WandbRun | None:
    """The W&B logger of a run, or None where W&B is disabled; arguments and errors as :func:`make_loggers`."""
    options = {k: v for k, v in wandb.items() if v is not None} if isinstance(wandb, Mapping) else {}
    if unknown := sorted(set(options) - set(WANDB_OPTIONS)):
        raise InputError(
            [f"tracking.wandb.{key}: unknown option; it takes {', '.join(WANDB_OPTIONS)}" for key in unknown]
        )
    if importlib.util.find_spec("wandb") is None:
        raise InputError(
            "tracking.wandb: the package 'wandb' is not installed; pip install 'recambio[wandb]', or set tracking.wandb=false"
        )
    mode = wandb_mode(os.environ, options.pop("mode", None))
    if mode == "disabled":
        return None
    return WandbRun(run_dir, config, mode, run_name or run_dir.name, options, resume_id)


def log_final(run_dir: Path, config: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Send the final evaluation to W&B, if the run is tracked there, and finish.

    Args:
        run_dir: The run folder.
        config: The resolved config as plain data.
        results: The evaluation as plain data, ``{"sets": {name: ...}}``.
    """
    wandb = (config.get("tracking") or {}).get("wandb", False)
    if wandb is False or wandb is None:
        return
    run = wandb_run(run_dir, config, wandb)
    if run is None:
        return
    for name, entry in results["sets"].items():
        run.log_samples(None, name, entry.get("samples", []))
    run.log_scores(results["sets"])
    run.close()


def log_samples(loggers: Sequence[Logger], step: int | None, name: str, samples: Sequence[Mapping[str, Any]]) -> None:
    """Show sample translations of a set where a logger has a place for them.

    Args:
        loggers: Of the run.
        step: Optimiser step; None where it says nothing.
        name: The set.
        samples: ``source``, ``reference``, ``hypothesis``, ``is_exact`` of each.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.log_samples(step, name, samples)


def log_scores(loggers: Sequence[Logger], sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the final scores into the run's summary.

    Args:
        loggers: Of the run.
        sets: The ``sets`` of an evaluation's JSON.
    """
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.log_scores(sets)


def close_loggers(loggers: Sequence[Logger], is_failed: bool = False) -> None:
    """Write out what is pending and let go of files and processes; logging again opens them again."""
    for logger in loggers:
        if isinstance(logger, CSVMetrics | WandbRun):
            logger.close(is_failed)


class MetricsFile:
    """A CSV file of metrics that a killed run leaves readable and a resumed run goes on with.

    Every row is handed to the operating system in one write, so only the machine's own death can lose a row, and at most the
    last line is incomplete. A metric that is new gets a column: the file is written anew beside the old and moved over it.

    Args:
        path: The file.
        resume_step: Earlier rows with a larger ``step`` are dropped at the first write. None: those that the first row written
            runs back over, which are the ones of a larger step, and of its own step if they hold one of its metrics.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self.resume_step = resume_step
        self.columns: list[str] = []
        self._file: io.FileIO | None = None
        self._is_opened = False

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; metrics that it lacks are left empty."""
        if self._file is None:
            self._open(row)
        if added := [key for key in row if key not in self.columns]:
            self._add_columns(added)
        assert self._file is not None
        self._file.write(_csv_lines([[_cell(row.get(column)) for column in self.columns]]))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, first: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        # What follows the last line break is a row that a killed run didn't finish.
        whole = text[: text.rfind("\n") + 1]
        header, *rows = list(csv_format.reader(io.StringIO(whole, newline=""))) or [[]]
        rows_read = [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]
        kept = [list(row.values()) for row in rows_read if self._is_opened or not self._is_superseded(row, first)]
        self.columns = header
        if text and (kept != rows or whole != text):
            self._replace(kept)
        self._file = self._append()
        self._is_opened = True

    def _is_superseded(self, row: Mapping[str, str], first: Mapping[str, Any]) -> bool:
        """Whether a row of an earlier process will be written again."""
        if not row.get("step"):
            return False
        step = float(row["step"])
        if self.resume_step is not None:
            return step > self.resume_step
        if first.get("step") is None or step != first["step"]:
            return first.get("step") is not None and step > first["step"]
        return any(row.get(key) for key in first if key not in _FIRST_COLUMNS)

    def _add_columns(self, added: list[str]) -> None:
        old = list(self.columns)
        names = [*old, *added]
        first = [c for c in _FIRST_COLUMNS if c in names]
        self.columns = [*first, *(c for c in names if c not in first)]
        rows: list[list[str]] = []
        if old:
            with self.path.open(encoding="utf-8", newline="") as file:
                rows = [[row.get(c, "") for c in self.columns] for row in csv_format.DictReader(file)]
        self.close()
        self._replace(rows)
        self._file = self._append()

    def _append(self) -> io.FileIO:
        return open(self.path, "ab", buffering=0)

    def _replace(self, rows: list[list[str]]) -> None:
        with replacing(self.path) as aside:
            aside.write_bytes(_csv_lines([self.columns, *rows]))


class CSVMetrics(Logger):
    """Lightning logger that writes ``metrics.csv`` of the run folder: one row a call, under our own step.

    Args:
        run_dir: The run folder.
        resume_step: As :class:`MetricsFile` takes it.
    """

    def __init__(self, run_dir: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.file = MetricsFile(run_dir / "metrics.csv", resume_step)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run_dir.name

    @property
    def version(self) -> str:
        """None: a run folder has one version."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run_dir)

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self.run_dir)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row."""
        self.file.write({**({} if step is None else {"step": step}), **metrics})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def close(self, is_failed: bool = False) -> None:
        """Close the file."""
        self.file.close()


class WandbRun(Logger):
    """Lightning logger of Weights & Biases, one id over all segments of a run.

    Logging hands a message to W&B's own process (about 0.1 ms) and never waits for the network. Should W&B fail, the run goes
    on without it and says so once: the run folder holds the same numbers.

    Args:
        run_dir: The run folder; W&B's files go to ``wandb/`` in it.
        config: The resolved config as plain data.
        mode: Online or offline, settled beforehand so that W&B never asks.
        run_name: What the page shows.
        options: Of :data:`WANDB_OPTIONS`.
        resume_id: The run's id; by default that of ``wandb/id``, or a new one.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Mapping[str, Any],
        mode: Mode,
        run_name: str,
        options: Mapping[str, Any] | None = None,
        resume_id: str | None = None,
    ) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.config = dict(config)
        self.mode = mode
        self.run_name = run_name
        self.options = dict(options or {})
        self.resume_id = resume_id
        self.is_lost = False
        self._run: Any = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run_name

    @property
    def version(self) -> str | None:
        """W&B's id of the run, once there is one."""
        return self.resume_id or _read_id(self.run_dir)

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run_dir)

    @property
    def run(self) -> Any:
        """W&B's run on rank 0, started on first use; None elsewhere or where it can't be had."""
        if self._run is None and _is_rank_zero() and not self.is_lost:
            self._guard(self._start)
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send a row; our step is one of its values, because W&B's own restarts with every offline segment."""
        row = {**({} if step is None else {"step": step}), **metrics}
        self._guard(lambda run: run.log(row), self.run)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config was sent when the run started."""

    @rank_zero_only
    def log_samples(self, step: int | None, name: str, samples: Sequence[Mapping[str, Any]]) -> None:
        """Send a table of translations."""

        def send(run: Any) -> None:
            import wandb

            columns: list[str | int] = ["source", "reference", "hypothesis", "is_exact"]
            table = wandb.Table(columns=columns, data=[[sample.get(str(c)) for c in columns] for sample in samples])
            run.log({**({} if step is None else {"step": step}), f"samples/{name}": table})

        self._guard(send, self.run)

    @rank_zero_only
    def log_scores(self, sets: Mapping[str, Mapping[str, Any]]) -> None:
        """Put scores, interval and signature of every set into the summary."""
        flat = {
            f"eval/{name}/{key}{'' if part == 'score' else '/' + part}": value[part]
            for name, entry in sets.items()
            for key, value in entry.items()
            if isinstance(value, Mapping) and "score" in value
            for part in ("score", "low", "high", "signature")
            if value.get(part) is not None
        }
        flat |= {
            f"eval/{name}/exact_match": e["exact_match"]
            for name, e in sets.items()
            if isinstance(e.get("exact_match"), int | float)
        }
        self._guard(lambda run: run.summary.update(flat), self.run)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish this segment if Lightning says that training failed or was interrupted; otherwise the final evaluation belongs to it."""
        if status == "failed":
            self.close(is_failed=True)

    @rank_zero_only
    def close(self, is_failed: bool = False) -> None:
        """Finish this segment."""
        run, self._run = self._run, None
        if run is not None:
            self._guard(lambda r: r.finish(exit_code=int(is_failed)), run)

    def _start(self) -> None:
        import wandb

        run_id = self.version or secrets.token_hex(4)
        _write_id(self.run_dir, run_id)
        arguments = {
            "project": "recambio",
            **self.options,
            "id": run_id,
            "name": self.run_name,
            "dir": str(self.run_dir),
            "config": self.config,
            "resume": "allow",
            # No capture of the terminal, of code or of the machine's name: they slow a run and tell more than was asked.
            "settings": wandb.Settings(console="off", silent=True, save_code=False, disable_git=True, init_timeout=30),
        }
        try:
            self._run = wandb.init(**arguments, mode=self.mode)
        except wandb.Error as error:
            if self.mode == "offline":
                raise
            reason = " ".join(str(error).split())
            warnings.warn(f"W&B can't be reached ({reason}); logging offline", stacklevel=2)
            self.mode = "offline"
            self._run = wandb.init(**arguments, mode="offline")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _guard(self, action: Any, *run: Any) -> None:
        if self.is_lost or (run and run[0] is None):
            return
        try:
            action(*run)
        except Exception as error:  # whatever goes wrong there, the training goes on
            self.is_lost = True
            self._run = None
            warnings.warn(f"W&B failed ({type(error).__name__}: {error}); the run goes on without it", stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        # a run belongs to its process
        return {**self.__dict__, "_run": None}


def wandb_mode(environment: Mapping[str, str], configured: str | None = None) -> Mode:
    """What was asked for, else online with a key and offline without one; never a question at the terminal.

    Args:
        environment: Its ``WANDB_MODE`` comes before what is configured.
        configured: ``tracking.wandb.mode``.

    Raises:
        InputError: The mode is unknown, or online without a key.
    """
    variable = environment.get("WANDB_MODE", "").strip().lower()
    asked, where = (variable, "WANDB_MODE") if variable else (configured or "", "tracking.wandb.mode")
    known = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
    known |= {"disabled": "disabled", "shared": "shared"}
    if asked and asked not in known:
        raise InputError(f"{where}: unknown mode {asked!r}; it takes online, offline, disabled, shared")
    mode = cast(Mode, known[asked]) if asked else None
    if mode in ("offline", "disabled"):
        return mode
    has_key = has_wandb_key(environment)
    if mode is not None and not has_key:
        raise InputError(f"{where}: {asked!r} needs a key; run `wandb login`, set WANDB_API_KEY, or ask for 'offline'")
    return mode or ("online" if has_key else "offline")


def has_wandb_key(environment: Mapping[str, str]) -> bool:
    """Whether ``wandb.init`` finds a key without asking: in the environment or in the netrc file."""
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    home = Path(environment.get("HOME") or Path.home())
    places = [Path(environment["NETRC"])] if environment.get("NETRC") else [home / ".netrc", home / "_netrc"]
    for place in places:
        try:
            found = netrc.netrc(place.expanduser()).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if found and found[2]:
            return True
    return False


def _is_rank_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _read_id(run_dir: Path) -> str | None:
    path = run_dir / "wandb" / "id"
    return path.read_text(encoding="utf-8").strip() or None if path.exists() else None


def _write_id(run_dir: Path, run_id: str) -> None:
    path = run_dir / "wandb" / "id"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{run_id}\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):
        value = value.item()
    return repr(value) if isinstance(value, float) else str(value)


def _csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv_format.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
