"""Whether a model prefers right translations to wrong ones, from the log-probability that it gives to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recambio.evaluation.contrastive.items import Item
from recambio.evaluation.phenomena import Accuracy


@dataclass(frozen=True, slots=True)
class Scored:
    """An item with what a model says of its translations, the right one first, then the wrong ones in their order.

    Attributes:
        item: What was scored.
        log_probabilities: Of each translation, in nats: the sum over its tokens, EOS included.
        n_tokens: How many tokens each has.
    """

    item: Item
    log_probabilities: Sequence[float]
    n_tokens: Sequence[int]

    @property
    def margin(self) -> float:
        """How far the right translation is above the best wrong one, in nats. An item is right above 0; a tie is not right."""
        right, *wrong = self.log_probabilities
        return right - max(wrong)

    @property
    def token_margin(self) -> float:
        """The same of the mean over the tokens."""
        right, *wrong = (p / n for p, n in zip(self.log_probabilities, self.n_tokens, strict=True))
        return right - max(wrong)

    def as_dict(self) -> dict[str, Any]:
        """The item, and the numbers beside its translations."""
        return {
            "phenomenon": self.item.phenomenon,
            "source": self.item.source,
            "translations": [self.item.right, *self.item.wrong],
            "log_probabilities": [round(p, 4) for p in self.log_probabilities],
            "n_tokens": list(self.n_tokens),
            "is_right": self.margin > 0,
        }


@dataclass(frozen=True)
class Tally:
    """How a model did on some items.

    Attributes:
        accuracy: Items whose right translation has a higher log-probability than every wrong one.
        token_accuracy: The same by the mean log-probability of a token, which does not favour short translations.
        margin: Mean of :attr:`Scored.margin`, in nats.
        token_margin: Mean of :attr:`Scored.token_margin`, in nats.
        chance: Percent that guessing gets right.
    """

    accuracy: Accuracy
    token_accuracy: Accuracy
    margin: float
    token_margin: float
    chance: float

    @classmethod
    def of(cls, scored: Sequence[Scored]) -> Tally:
        """Of one item or more."""
        n = len(scored)
        return cls(
            Accuracy(n, sum(s.margin > 0 for s in scored)),
            Accuracy(n, sum(s.token_margin > 0 for s in scored)),
            sum(s.margin for s in scored) / n,
            sum(s.token_margin for s in scored) / n,
            100 * sum(s.item.chance for s in scored) / n,
        )

    def as_dict(self) -> dict[str, float | int]:
        """``n``, ``accuracy`` in percent with its interval, ``chance``, ``margin``, and the same of the tokens' mean."""
        low, high = self.accuracy.interval
        return {
            "n": self.accuracy.n,
            "accuracy": self.accuracy.exact,
            "low": low,
            "high": high,
            "chance": self.chance,
            "margin": self.margin,
            "token_accuracy": self.token_accuracy.exact,
            "token_margin": self.token_margin,
        }


def tally(scored: Iterable[Scored]) -> dict[str, Tally]:
    """By phenomenon, in the order of their first items."""
    found: dict[str, list[Scored]] = {}
    for one in scored:
        found.setdefault(one.item.phenomenon, []).append(one)
    return {phenomenon: Tally.of(of_it) for phenomenon, of_it in found.items()}
