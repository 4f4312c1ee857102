"""The register of what is measured, and what the measures have in common.

A measure is a function that gets the :class:`~bench.servers.Bench` and returns an :class:`Outcome`::

    @measure("webhook_bind_vs_noop", ">= 0.4", over="binding pushes a second over no-op requests")
    def bind_vs_noop(bench: Bench) -> Outcome: ...

It raises any exception if it could not measure, and MissingRowsError if rows are missing.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.servers import Bench

COMPARISONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt, "=": operator.eq}


class MissingRowsError(AssertionError):
    """The server has acknowledged more than it has stored."""


@dataclass
class Outcome:
    """What a measure has found."""

    # What the goal is about: a ratio, or an absolute figure. None: there is no such figure, only `rates`.
    value: float | None
    # Absolute figures that stand beside it, by what they are ("bindings/s").
    rates: dict[str, float] = field(default_factory=dict)
    # What else must be known to read the figure, such as a smaller sample.
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """Something that can be measured."""

    key: str
    # Such as ">= 0.4"; None: the figure is only reported.
    goal: str | None
    unit: str
    over: str
    function: Callable[[Bench], Outcome]

    def is_met(self, value: float | None) -> bool | None:
        """Tell whether a value reaches the goal; None if there is no goal or no value."""
        if self.goal is None or value is None:
            return None
        comparison, limit = self.goal.split()
        return COMPARISONS[comparison](value, float(limit))


MEASURES: dict[str, Measure] = {}


def measure(
    key: str, goal: str | None = None, unit: str = "", over: str = ""
) -> Callable[[Callable[[Bench], Outcome]], Callable[[Bench], Outcome]]:
    """Register a function as a measure.

    :param key: what the figure is called in the table and in the JSON file
    :param goal: a comparison and a number
    :param unit: of the value; none for a ratio
    :param over: what is divided by what, or what the figure is
    """

    def register(function: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
        MEASURES[key] = Measure(key, goal, unit, over, function)
        return function

    return register


def alternate(rounds: int, **sides: Callable[[], float]) -> dict[str, list[float]]:
    """Measure several things in turn, to and fro, so that none always comes behind the same one.

    :param sides: functions that measure one round and return its rate
    :return: the rates of all rounds, by side
    """
    rates = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            rates[name].append(sides[name]())
    return rates


def median_ratio(rates: dict[str, list[float]], side: str, base: str) -> float:
    """Return the median of the rounds' ratios: what slows a whole round down slows both of its sides."""
    return statistics.median(value / other for value, other in zip(rates[side], rates[base], strict=True))


def medians(rates: dict[str, list[float]], unit: str = "/s") -> dict[str, float]:
    """Return the median of each side's rates, named for the table."""
    return {f"{name}{unit}": statistics.median(values) for name, values in rates.items()}


def require_rows(what: str, expected: int, found: int) -> None:
    """Check that a round has left behind what its rate is made of.

    :raise MissingRowsError: it has not
    """
    if found != expected:
        raise MissingRowsError(f"{what}: {found} instead of {expected}")
