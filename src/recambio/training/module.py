"""The LightningModule: one call of ``training_step`` is one optimiser step, whatever the accumulation and the devices.

Lightning's automatic optimisation counts batches: its loss is a mean of means, its last accumulation window is divided by
the full window's size, and validation and resume fall between micro-batches. Here the loader yields whole steps (the micro-batches of
one rank and the target tokens of all), the loss is the sum over every token of the step divided by their number, and everything
that Lightning counts is an optimiser step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.profiler import record_function

from recambio.data.batch import Batch
from recambio.decoding.generate import length_limit
from recambio.decoding.scorer import ModelScorer
from recambio.decoding.searches.base import Search
from recambio.evaluation.corpus_bleu import CorpusBLEU
from recambio.model.initialise import seed_generators, stable_seed
from recambio.model.transformer import Transformer
from recambio.training import memory
from recambio.training.average import MovingAverage
from recambio.training.losses.base import Loss, LossTerms
from recambio.training.optimizers.base import OptimizerPart, ParameterGroups
from recambio.training.schedules.base import Schedule

_SMALLER_BATCH = "start anew with a lower data.batch_tokens, and training.accumulate raised to match"
_SMALLER_STATE = "choose an optimizer that keeps less, as lion or adafactor, or a smaller model"


@dataclass
class StepBatch:
    """What one rank does in one optimiser step.

    Attributes:
        batches: This rank's micro-batches; fillers have weight 0.
        source_tokens: Real source tokens of the whole step, over all ranks and micro-batches.
        target_tokens: Real target tokens, likewise: the loss's denominator.
        epoch: Of the plan.
        wait: Seconds that training waited for it.
    """

    batches: list[Batch]
    source_tokens: int
    target_tokens: int
    epoch: int
    wait: float = 0.0

    def to(self, device: torch.device | str, non_blocking: bool = True) -> StepBatch:
        """The same step on a device."""
        return replace(self, batches=[b.to(device, non_blocking) for b in self.batches])


@dataclass(frozen=True)
class EvaluationText:
    """What validation needs beside token ids.

    Attributes:
        references: Reference text by sentence id.
        detokenize: Target ids to text.
    """

    references: list[str]
    detokenize: Callable[[list[list[int]]], list[str]]


class TranslationModule(L.LightningModule):
    """Trains a Transformer; validates by loss and by BLEU of a search.

    Args:
        model: What is trained.
        loss: Sums over tokens.
        optimizer: Makes the torch optimizer.
        schedule: Learning-rate factor by step.
        pad_id, sos_id, eos_id: Special tokens.
        seed: Seeds dropout, by step.
        clip: Largest gradient norm; None for no clipping.
        log_every: Steps between training records.
        ema: Decay of the moving average that is validated in place of the weights; None for none.
        search: For validation BLEU; None for none.
        validation: Text of the validation set.
        max_ratio, max_extra, max_length: Length limit of the search.
    """

    def __init__(
        self,
        model: Transformer,
        loss: Loss,
        optimizer: OptimizerPart,
        schedule: Schedule,
        *,
        pad_id: int,
        sos_id: int,
        eos_id: int,
        seed: int,
        clip: float | None = 1.0,
        log_every: int = 50,
        ema: float | None = None,
        search: Search | None = None,
        validation: EvaluationText | None = None,
        max_ratio: float = 2.0,
        max_extra: int = 10,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.loss = loss
        self.optimizer_part = optimizer
        self.schedule = schedule
        self.pad_id, self.sos_id, self.eos_id = pad_id, sos_id, eos_id
        self.seed = seed
        self.clip = clip
        self.log_every = log_every
        self.average = None if ema is None else MovingAverage(model, ema)
        self.search = search
        self.validation = validation
        self.limits = (max_ratio, max_extra, max_length)
        self.tokens_seen = 0
        self.latest: dict[str, float] = {}
        """The newest value of everything recorded, for whoever shows progress."""
        self.bleu = CorpusBLEU()
        self._sums: list[Tensor] = []
        self._tokens = 0
        self._waited = 0.0
        self._norms: list[Tensor] = []
        self._since = self._paused = time.perf_counter()
        self._last = (0.0, 0)
        self._valid: Tensor | None = None
        self._valid_tokens = 0

    # Training ---------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Optimizer:
        """The part's optimizer over the model's parameters."""
        is_scaled = self.trainer.precision == "16-mixed"
        return self.optimizer_part.build(ParameterGroups.of(self.model), is_fused=not is_scaled)

    def terms(self, batch: Batch) -> tuple[LossTerms, dict[str, tuple[Tensor, Tensor]]]:
        """Forward pass and loss of a batch. Returns: the loss's sums and the auxiliary losses."""
        # Known on the host: where nothing is padded, no mask is made.
        target_tokens = None if batch.target_positions is None else batch.target[:, 1:] != self.pad_id
        passes = self.loss.passes if self.model.training else 1
        rows = (batch.source, batch.decoder_input, batch.source_mask, target_tokens)
        if passes > 1:
            rows = tuple(None if x is None else x.repeat(passes, 1) for x in rows)  # type: ignore[assignment]
        with record_function("recambio::forward"):
            hidden, auxiliary = self.model(*rows)
        # (P * B, T, D) -> (P, B * T, D)
        flat = hidden.reshape(passes, -1, hidden.shape[-1])
        if batch.target_positions is not None:
            flat = flat.index_select(1, batch.target_positions)
        flat = flat.flatten(0, 1)
        weight, bias = self.model.embedding.output()
        with record_function("recambio::loss"):
            return self.loss(flat, weight, bias, batch.labels), auxiliary

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimiser step: every micro-batch's gradients, one scale, one clip, one update."""
        step = self.global_step
        # Dropout is a function of (seed, step, rank): a resumed run needs no generator state, and validation disturbs none.
        seed_generators(stable_seed("dropout", self.seed, step, self.global_rank), self.device)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        # DDP averages gradients over ranks; the sum over tokens is what is wanted.
        scale = self.trainer.world_size / batch.target_tokens
        is_checkpointed = self.model.encoder.is_checkpointed
        remedy = f"{'' if is_checkpointed else 'resume with training.checkpoint_activations=true, or '}{_SMALLER_BATCH}"
        for i, part in enumerate(batch.batches):
            with memory.reported(f"at step {step + 1} of training", remedy, part):
                terms, auxiliary = self.terms(part)
                loss = terms.loss * (part.weight * scale)
                # Each mean counts by its share of the step's tokens in its stack, so that it becomes the mean over the whole step.
                share = {
                    "encoder": part.source_tokens / batch.source_tokens,
                    "decoder": part.target_tokens / batch.target_tokens,
                }
                for name, (value, count) in auxiliary.items():
                    stack, _, _ = name.partition(".")
                    loss = loss + value / count.clamp(min=1) * (part.weight * share[stack] * self.trainer.world_size)
                self._backward(loss, is_last=i == len(batch.batches) - 1)
            if part.weight:
                self._sums.append(torch.stack([terms.loss.detach(), terms.nll.detach()]))
                self._tokens += part.target_tokens
        self.tokens_seen += batch.target_tokens
        self._waited += batch.wait
        factor = self.schedule.factor(step + 1)
        for group in optimizer.param_groups:
            group["lr"] = self.optimizer_part.lr * factor * group.get("lr_scale", 1.0)
        with (
            memory.reported(f"in the update of step {step + 1}", _SMALLER_STATE),
            record_function("recambio::optimizer"),
        ):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update()
        self._last = (self.optimizer_part.lr * factor, batch.epoch)
        if (step + 1) % self.log_every == 0:
            self._record(step + 1)

    def _backward(self, loss: Tensor, is_last: bool) -> None:
        wrapper = self.trainer.strategy.model
        is_ddp = isinstance(wrapper, torch.nn.parallel.DistributedDataParallel)
        if is_ddp:
            wrapper.require_backward_grad_sync = is_last  # type: ignore[union-attr,assignment]
        # Lightning calls this inside the autocast region of the forward pass; gradients take the dtypes of that pass.
        with torch.autocast(self.device.type, enabled=False), record_function("recambio::backward"):
            self.manual_backward(loss)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the whole step's gradient (after Lightning has undone the scaler's factor)."""
        bound = math.inf if self.clip is None else self.clip
        self._norms.append(torch.nn.utils.clip_grad_norm_(self.model.parameters(), bound).detach())

    def _record(self, step: int) -> None:
        """Means since the last record, over all ranks."""
        now = time.perf_counter()
        lr, epoch = self._last
        # A rank whose every batch was a filler has no sums.
        zero = torch.zeros(2, device=self.device, dtype=torch.float64)
        sums = torch.stack(self._sums).double().sum(0) if self._sums else zero
        packed = torch.cat([sums, sums.new_tensor([float(self._tokens), self._waited])])
        packed = self.trainer.strategy.reduce(packed, reduce_op="sum")  # type: ignore[assignment]
        loss, nll, tokens, waited = packed.tolist()
        values = {
            "train/loss": loss / max(tokens, 1),
            "train/nll": nll / max(tokens, 1),
            "train/lr": lr,
            "train/grad_norm": float(torch.stack(self._norms).mean()),
            "train/tokens_per_second": tokens / (now - self._since),
            # The first step of a run is fetched before the clock starts.
            "train/wait": min(1.0, waited / self.trainer.world_size / (now - self._since)),
            "train/tokens": float(self.tokens_seen),
            "epoch": float(epoch),
        }
        self._reset_record()
        self._publish(values, step)

    def _reset_record(self) -> None:
        self._sums, self._norms, self._tokens, self._waited, self._since = [], [], 0, 0.0, time.perf_counter()

    def _publish(self, values: dict[str, float], step: int) -> None:
        # Straight to the loggers under our own step, which stays monotone over resumes; callbacks read callback_metrics.
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=step)
        self.latest.update(values)

    # Validation -------------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Start the sums. What was trained since the last record is recorded first, so that a run resumed from the
        checkpoint of this validation records the same windows as one that went through."""
        if self._norms:
            self._record(self.global_step)
        self.bleu.reset()
        self._valid = torch.zeros((), dtype=torch.float64, device=self.device)
        self._valid_tokens = 0
        self._paused = time.perf_counter()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss of the references and translations of the sources; fillers count for nothing.

        Weights in float32 are validated in float32, as ``recambio eval`` uses them, whatever training multiplies in: the scores that choose
        the best weights are those that these have afterwards.
        """
        if not batch.weight:
            return
        with (
            torch.autocast(self.device.type, enabled=False),
            memory.reported(f"in the validation after step {self.global_step}", "lower decoding.batch_tokens", batch),
        ):
            self._score(batch)

    def _score(self, batch: Batch) -> None:
        terms, _ = self.terms(batch)
        assert self._valid is not None
        self._valid += terms.nll.double()
        self._valid_tokens += batch.target_tokens
        if self.search is None or self.validation is None:
            return
        sources = unpadded(batch)
        scorer = ModelScorer(self.model, sos_id=self.sos_id, eos_id=self.eos_id, pad_id=self.pad_id)
        ratio, extra, most = self.limits
        limits = [length_limit(len(s), ratio, extra, most) for s in sources]
        best = [found[0].tokens for found in self.search(scorer, sources, limits)]
        references = [self.validation.references[i] for i in batch.ids.tolist()]
        self.bleu.update(self.validation.detokenize(best), references)

    def on_validation_epoch_end(self) -> None:
        """Reduce over ranks and record ``valid/nll``, ``valid/ppl`` and ``valid/bleu``."""
        assert self._valid is not None
        packed = torch.stack([self._valid, self._valid.new_tensor(float(self._valid_tokens))])
        packed = self.trainer.strategy.reduce(packed, reduce_op="sum")  # type: ignore[assignment]
        nll = float(packed[0] / packed[1].clamp(min=1))
        values = {"valid/nll": nll, "valid/ppl": math.exp(min(nll, 50.0))}
        if self.search is not None:
            values["valid/bleu"] = float(self.bleu.compute())
        self.log_dict(values, logger=False, rank_zero_only=False)
        if not self.trainer.sanity_checking:
            self._publish(values, self.global_step)
        # Time spent here is not training time.
        self._since += time.perf_counter() - self._paused

    # State ------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Plain numbers and tensors only, so that the file loads with ``weights_only=True``."""
        checkpoint["recambio"] = {"tokens_seen": self.tokens_seen}
        if self.average is not None:
            checkpoint["recambio"]["average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the counters and the average."""
        self.tokens_seen = int(checkpoint["recambio"]["tokens_seen"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["recambio"]["average"])

    def on_train_start(self) -> None:
        """Start the clock of the first record, with the weights that are trained."""
        self._put_trained()
        self._reset_record()

    def on_validation_start(self) -> None:
        """From here to the end of the validation the model holds the weights that are kept."""
        self._put_kept()

    def on_validation_end(self) -> None:
        """Go on with the weights that are trained; the checkpoints of this validation are written by now."""
        self._put_trained()

    @contextmanager
    def state_weights(self) -> Iterator[None]:
        """The model holds what a training state stores as its weights; afterwards, those that are trained.

        An optimizer that averages by itself rebuilds what it trains from the average. A moving average stands beside what is trained.
        """
        self._put_trained()
        if self.average is None:
            self._put_kept()
        yield
        self._put_trained()

    def _put_kept(self) -> None:
        if callable(put := getattr(self.optimizers(use_pl_optimizer=False), "eval", None)):
            put()
        if self.average is not None:
            self.average.put()

    def _put_trained(self) -> None:
        if self.average is not None:
            self.average.take_back()
        if callable(put := getattr(self.optimizers(use_pl_optimizer=False), "train", None)):
            put()


def unpadded(batch: Batch) -> list[list[int]]:
    """Source rows without padding."""
    rows = batch.source.tolist()
    if batch.source_mask is None:
        return rows
    return [row[:n] for row, n in zip(rows, batch.source_mask.sum(1).tolist(), strict=True)]
