"""Many feed-forwards, of which each token passes through a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recambio.components.activation.base import Activation
from recambio.components.context import Cache, TokenContext, WithLosses
from recambio.components.dropout import Dropout
from recambio.components.feed_forward.base import FeedForward
from recambio.components.linear import Linear
from recambio.components.product import linear
from recambio.registry import FEED_FORWARD, Card


@FEED_FORWARD.register(
    "mixture_of_experts",
    Card(
        claim="Each token passes through the few of many feed-forwards that a router chooses for it: parameters grow, products don't.",
        formula="y = sum_{e in top} g_e W2_e act(W1_e x) (+ W2 act(W1 x), shared); p = softmax(Wr x), g_e = p_e / sum_{top} p (p_e where "
        "one is chosen)",
        paper='Shazeer et al. 2017, "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", '
        "https://arxiv.org/abs/1701.06538; balance loss: Fedus et al. 2021, Switch Transformers, https://arxiv.org/abs/2101.03961, section "
        "2.2; router z-loss: Zoph et al. 2022, ST-MoE, https://arxiv.org/abs/2202.08906; shared expert: Dai et al. 2024, DeepSeekMoE, "
        "https://arxiv.org/abs/2401.06066",
        departures="No capacity: no token is dropped, in training or decoding, so a sentence is translated the same in any batch. No "
        "noise in the router. Experts have no biases. f counts all choices of a token. Padding enters neither the choice nor the losses. "
        "The balance loss is no sum over tokens: it is taken for each device batch, as everywhere, and weighted by the batch's share of "
        "the step's tokens in its stack, so the update depends a little on how a step is cut into batches; the z-loss doesn't.",
        parameters="D * n_experts + (n_experts + n_shared) * 2 * D * (d_expert or F) + activation",
        flops="2 * D * n_experts + (n_active + n_shared) * 4 * D * (d_expert or F); softmax, choice, sorting and activation are not "
        "counted",
        fast_path="Tokens are sorted by expert: two products an expert, whose loads are read on the host. In bfloat16 on CUDA, with widths "
        "divisible by 8, torch's grouped product, which needs no reading.",
    ),
)
class MixtureOfExperts(FeedForward):
    """Each token passes through the few of many feed-forwards that a router chooses for it.

    ``y = sum_{e in top} g_e W2_e act(W1_e x)``, ``p = softmax(Wr x)``, g the chosen p's, scaled to sum to 1 where there are several

    In training two losses come along, for each layer by itself: ``balance * E * sum_e f_e P_e`` (f the experts' shares of the choices,
    P the mean of p) and ``router_z`` times the mean of ``log^2 sum exp(Wr x)``.

    Papers: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; Fedus et al. 2021, https://arxiv.org/abs/2101.03961; Zoph et al. 2022,
    https://arxiv.org/abs/2202.08906; Dai et al. 2024, https://arxiv.org/abs/2401.06066.
    Differs from the papers: no capacity and no noise; no biases.

    Args:
        activation: The experts' function; without it the model's ``activation``.
        n_experts: E.
        n_active: Experts that each token passes through.
        n_shared: Experts that every token passes through besides; they are one, so many times as wide.
        d_expert: Inner width of an expert; without it ``d_ff``. ``d_ff / n_active`` costs what `mlp` does.
        balance: Weight of the load-balancing loss.
        router_z: Weight of the router's z-loss.
        inner_dropout: Dropout after the activation.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        layer_index: int,
        activation: Activation,
        n_experts: int = 8,
        n_active: int = 2,
        n_shared: int = 0,
        d_expert: int | None = None,
        balance: float = 0.01,
        router_z: float = 0.001,
        inner_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= n_active <= n_experts:
            raise ValueError(f"`n_active` must be from 1 to `n_experts` ({n_experts}), but is {n_active}")
        if n_shared < 0:
            raise ValueError(f"`n_shared` must not be negative, but is {n_shared}")
        if d_expert is not None and d_expert < 1:
            raise ValueError(f"`d_expert` must be at least 1, but is {d_expert}")
        self.n_experts, self.n_active = n_experts, n_active
        self.coefficients = {
            f"feed_forward.{layer_index}.{name}": c for name, c in (("balance", balance), ("router_z", router_z))
        }
        width = d_expert or d_ff
        self.router = Linear(d_model, n_experts, bias=False)
        # One parameter for all experts: each step reaches every expert, also one that no token chose.
        self.inner = Linear(d_model, {f"ffn_in_{e}": width for e in range(n_experts)}, bias=False)
        self.output = Linear(width, {f"ffn_out_{e}": d_model for e in range(n_experts)}, bias=False)
        self.activation = activation
        self.dropout = Dropout(inner_dropout)
        self.shared_inner = self.shared_output = None
        if n_shared:
            self.shared_inner = Linear(d_model, n_shared * width, bias=False, role="ffn_in_shared")
            self.shared_output = Linear(n_shared * width, d_model, bias=False, role="ffn_out_shared")

    def forward(self, x: Tensor, context: TokenContext, cache: Cache | None = None) -> Tensor | WithLosses:
        """See :meth:`FeedForward.forward`."""
        flat = x.reshape(-1, x.shape[-1])
        padding = None if context.tokens is None else ~context.tokens.reshape(-1)
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(x.dtype, torch.float32)
            logits = nn.functional.linear(flat.to(wide), self.router.weight.to(wide))
        p = logits.softmax(-1)
        gates, chosen = p.topk(self.n_active, dim=-1)
        if self.n_active > 1:
            gates = gates / gates.sum(-1, keepdim=True)
        expert = chosen.flatten()
        if padding is not None:
            gates = gates.masked_fill(padding[:, None], 0.0)
            expert = expert.masked_fill(padding.repeat_interleave(self.n_active), self.n_experts)
        load = (expert[:, None] == torch.arange(self.n_experts, device=x.device)).sum(0)
        y = self._mixed(flat, gates, expert, load)
        if self.shared_inner is not None and self.shared_output is not None:
            y = y + self.shared_output(self.dropout(self.activation(self.shared_inner(flat))))
        y = y.view(x.shape)
        return WithLosses(y, self._losses(logits, p, load, padding)) if self.training else y

    def _mixed(self, x: Tensor, gates: Tensor, expert: Tensor, load: Tensor) -> Tensor:
        """The experts' outputs, weighed and added.

        Args:
            x: (N, D).
            gates: (N, n_active).
            expert: (N * n_active,) each choice's expert; E, which is none, for padding.
            load: (E,) choices of each expert.

        Returns:
            (N, D), zero for padding.
        """
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        widths_fit = self.inner.in_features % 8 == 0 and self.output.in_features % 8 == 0
        order = expert.argsort(stable=True)
        loads: list[int] | None = None
        if x.device.type != "cuda" or dtype != torch.bfloat16 or not widths_fit:
            loads = load.tolist()
            order = order[: sum(loads)]
        rows = x.index_select(0, order // self.n_active)
        h = self.dropout(self.activation(self._products(self.inner, rows, load, loads, dtype)))
        y = self._products(self.output, h, load, loads, dtype)
        y = y * gates.flatten().index_select(0, order)[:, None].to(y.dtype)
        # (choices in order, D) -> (N, n_active, D) -> (N, D); no two rows are added to one place, whose sum would depend on chance
        apart = y.new_zeros(len(expert), x.shape[1]).index_copy(0, order, y)
        return apart.view(len(x), self.n_active, -1).sum(1)

    def _products(
        self, maps: Linear, rows: Tensor, load: Tensor, loads: list[int] | None, dtype: torch.dtype
    ) -> Tensor:
        """rows: (M, in), sorted by expert. Returns: (M, out), each row through its expert's map."""
        weights = maps.weight.view(self.n_experts, -1, maps.in_features)
        if loads is not None:
            parts = zip(torch.split(rows, loads), weights.unbind(), strict=True)
            return torch.cat([linear(part, weight) for part, weight in parts])
        return grouped(rows.to(dtype), weights.to(dtype), load)

    def _losses(
        self, logits: Tensor, p: Tensor, load: Tensor, padding: Tensor | None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        squares = logits.logsumexp(-1).square()
        if padding is None:
            count = p.new_full((), len(p))
        else:
            count = (~padding).sum().to(p.dtype)
            p, squares = p.masked_fill(padding[:, None], 0.0), squares.masked_fill(padding, 0.0)
        # f . P with both means taken over the same tokens, times their number
        balance = self.n_experts * (load * p.sum(0)).sum() / (count * self.n_active).clamp(min=1.0)
        values = zip(self.coefficients.items(), (balance, squares.sum()), strict=True)
        return {name: (weight * value, count) for (name, weight), value in values if weight}


def grouped(rows: Tensor, weights: Tensor, load: Tensor) -> Tensor:
    """Each row through its group's map, without asking the device how large the groups are.

    Args:
        rows: (M, in), sorted by group; what comes after the last group's is padding and goes with it.
        weights: (E, out, in).
        load: (E,) rows of each group.

    Returns:
        (M, out)
    """
    ends = load.cumsum(0)
    ends[-1:] = len(rows)
    return nn.functional.grouped_mm(rows, weights.transpose(1, 2), offs=ends.to(torch.int32))
