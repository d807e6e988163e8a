"""Hugging Face's `MarianMTModel` in `Seq2SeqTrainer`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from torch.utils.data import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)

from benchmarks.fit.clock import Clock
from benchmarks.fit.work import NEVER, Job, with_vocabulary
from benchmarks.peers.contender import BETAS, CLIP, LEARNING_RATE
from benchmarks.peers.marian import Marian
from benchmarks.peers.sizes import SIZES, SMOOTHING
from recambio.data.store import TokenStore

IGNORED = -100
"""What the collator fills labels with."""


def train(job: Job, clock: Clock) -> None:
    """Label smoothing, clipping, bf16, sampling: all by the trainer's own arguments."""
    data = job.prepared()
    words = data.tokenizer
    model = Marian(with_vocabulary(SIZES[job.size], data)).model
    model.config.decoder_start_token_id, model.config.eos_token_id = words.sos_id, words.eos_id
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(Path(job.folder) / "run"),
        per_device_train_batch_size=job.sentences,
        max_steps=NEVER,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        adam_epsilon=1e-9,
        max_grad_norm=CLIP,
        label_smoothing_factor=SMOOTHING,
        train_sampling_strategy="group_by_length" if job.contender == "trainer-grouped" else "random",
        bf16=job.precision == "bf16",
        use_cpu=True,
        save_strategy="no",
        logging_steps=50,
        report_to=[],
        disable_tqdm=True,
        seed=1,
    )
    collator = Counted(DataCollatorForSeq2Seq(_padder(words.pad_id), model=model, label_pad_token_id=IGNORED))
    trainer = Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=Pairs(data.stores["train"], words.eos_id),
        data_collator=collator,
        callbacks=[_Clocked(clock, collator)],
    )
    trainer.train()


class Pairs(Dataset[dict[str, list[int]]]):
    """A token store as the trainer's collators take it."""

    def __init__(self, store: TokenStore, eos_id: int) -> None:
        self.store, self.eos_id = store, eos_id

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        source, target = self.store.source(index).tolist(), self.store.target(index).tolist()
        return {"input_ids": [*source, self.eos_id], "labels": [*target, self.eos_id]}


class Counted:
    """A collator that notes the real target tokens of each batch; the trainer fetches one batch ahead."""

    def __init__(self, collator: DataCollatorForSeq2Seq) -> None:
        self.collator = collator
        self.tokens: deque[int] = deque()

    def __call__(self, features: Sequence[dict[str, list[int]]]) -> Any:
        self.tokens.append(sum(len(f["labels"]) for f in features))
        return self.collator(list(features))


class _Clocked(TrainerCallback):
    def __init__(self, clock: Clock, collator: Counted) -> None:
        self.clock, self.collator = clock, collator

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.step(self.collator.tokens.popleft())


def _padder(pad_id: int) -> PreTrainedTokenizerFast:
    """A tokenizer that is only asked to pad."""
    model = tokenizers.models.WordLevel({"<pad>": pad_id}, unk_token="<pad>")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizers.Tokenizer(model), pad_token="<pad>"
    )
