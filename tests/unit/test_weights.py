"""Weights in files: tied tensors once, torn files named, averages exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from recambio.errors import InputError
from recambio.model.weights import average_weights, load_weights, read_weights, save_weights


class Tied(nn.Module):
    """Two names for one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.source.weight
        self.norm = nn.LayerNorm(3)


def test_tied_tensors_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    save_weights(model, tmp_path / "w.safetensors")
    assert sorted(load_file(tmp_path / "w.safetensors")) == ["norm.bias", "norm.weight", "source.weight"]
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other.output.weight, model.source.weight)
    assert other.output.weight.data_ptr() == other.source.weight.data_ptr()


def test_an_average_is_the_arithmetic_mean_in_float64(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    # Large and small values whose float32 sum would lose the small ones.
    tensors = [torch.randn(50, generator=g) * 10.0 ** (i * 3) for i in range(3)]
    paths = []
    for i, tensor in enumerate(tensors):
        paths.append(tmp_path / f"{i}.safetensors")
        save_file({"w": tensor}, paths[-1])
    average_weights(paths, tmp_path / "mean.safetensors")
    wanted = (torch.stack(tensors).double().sum(0) / 3).float()
    assert torch.equal(load_file(tmp_path / "mean.safetensors")["w"], wanted)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_file_is_an_input_error(tmp_path: Path, share: float) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Tied(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"w\.safetensors: not a readable checkpoint .*truncated"):
        read_weights(path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"weights of another model: missing .*; unknown"):
        load_weights(Tied(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="other shape"):
        load_weights(nn.Linear(2, 3), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no such weights file"):
        load_weights(Tied(), tmp_path / "none.safetensors")


def test_a_pickle_with_code_in_it_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        read_weights(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    model = Tied()
    save_weights(model, path)
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recambio.model.weights.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert_close(read_weights(path)["source.weight"], model.source.weight.detach())
