"""Two processes take the update of one in float64, auxiliary losses of both stacks included: over two epochs, whose last steps have too
few batches for both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from recambio.data.plan import Cursor
from recambio.data.store import StoreWriter, TokenStore
from recambio.training.datamodule import TranslationData
from tests.unit.test_training_step import EOS, PAD, ROUTED, SOS, V, module

EPOCHS = 2


class Advance(L.Callback):
    """Moves the data cursor with the steps, as a run's own callbacks do."""

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        trainer.datamodule.advance()  # type: ignore[attr-defined]


def write_store(folder: Path) -> TokenStore:
    """Sentences that fill an odd number of device batches."""
    draw = np.random.default_rng(5)
    rows = [[draw.integers(4, V, size).tolist() for size in draw.integers(1, 9, 2)] for _ in range(34)]
    with StoreWriter(folder, V, has_text=False) as writer:
        writer.add([r[0] for r in rows], [r[1] for r in rows], np.arange(len(rows)))
        writer.finish({})
    return TokenStore(folder)


def trained(folder: Path, ranks: int, accumulate: int) -> dict[str, torch.Tensor]:
    """Parameters after all steps of the epochs, and how many there were."""
    store = TokenStore(folder)
    data = TranslationData(
        store, None, pad_id=PAD, sos_id=SOS, eos_id=EOS, seed=3, batch_tokens=24, accumulate=accumulate
    )
    steps = data.steps(EPOCHS, ranks)
    fitted = module(feed_forward=ROUTED)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        precision="64-true",
        max_epochs=-1,
        max_steps=steps,
        callbacks=[Advance()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(fitted, datamodule=data)
    assert trainer.global_step == steps and data.cursor == Cursor(EPOCHS, 0)
    return {name: p.detach().clone() for name, p in fitted.model.named_parameters()}


def main(folder: Path) -> None:
    """One of two ranks: trains with one batch a step and with two; the first writes what came out."""
    torch.set_num_threads(1)
    for accumulate in (1, 2):
        found = trained(folder, 2, accumulate)
        if os.environ["RANK"] == "0":
            save_file(found, folder / f"pair-{accumulate}.safetensors")


def test_two_ranks_take_the_update_of_one(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    plan = TranslationData(store, None, pad_id=PAD, sos_id=SOS, eos_id=EOS, seed=3, batch_tokens=24).plan(1)
    assert len(plan.epoch(0)) % 4 == 1, "the last step is to leave ranks without a batch"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.test_ranks_in_float64", str(tmp_path)],
            env={
                **os.environ,
                **shared,
                "RANK": r,
                "LOCAL_RANK": r,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            },
            cwd=Path(__file__).resolve().parents[2],
            stderr=subprocess.PIPE,
        )
        for r in ("0", "1")
    ]
    for rank in ranks:
        _, error = rank.communicate(timeout=240)
        assert rank.returncode == 0, error.decode()[-2000:]
    for accumulate in (1, 2):
        alone = trained(tmp_path, 1, 2 * accumulate)
        for name, both in load_file(tmp_path / f"pair-{accumulate}.safetensors").items():
            # Keys' biases have no gradient but rounding, which Adam's division by its size brings up to 1e-10.
            assert_close(both, alone[name], rtol=1e-9, atol=1e-9, msg=f"{name}, accumulate {accumulate}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
