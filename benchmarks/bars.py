"""The bars of the design and how a row's medians are held against them. Pure: no measuring, no printing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

#: Median by peer's name and metric.
Medians = Mapping[str, Mapping[str, float]]
OURS = "celeriac"


class Verdict(NamedTuple):
    """What was reached, in words, and whether that is enough (None: nothing was asked)."""

    text: str
    reached: bool | None


class Bar(NamedTuple):
    """What is asked, in words, and the judge. The judge raises KeyError where a side was not measured."""

    text: str
    judge: Callable[[Medians], Verdict]


def times(metric: str, peer: str, factor: float, *, above: float = 0.0, field: str = "") -> Bar:
    """At least `factor` times the peer in the same run; also `above` a figure of PEERS.md, called `field`."""

    def judge(medians: Medians) -> Verdict:
        ours, theirs = medians[OURS][metric], medians[peer][metric]
        return Verdict(f"{ours / theirs:.1f} × {peer}", ours >= factor * theirs and ours > above)

    return Bar(f"≥ {factor:g} × {peer}" + (f", > {above:,.0f} ({field})" if above else ""), judge)


def beside(metric: str, peer: str) -> Bar:
    """No bar: the ratio to the peer, to be read."""

    def judge(medians: Medians) -> Verdict:
        return Verdict(f"{medians[OURS][metric] / medians[peer][metric]:.1f} × {peer}", None)

    return Bar("", judge)


def at_most(metric: str, limit: float, unit: str = "", *, label: str = "") -> Bar:
    """Our own figure is no greater."""

    def judge(medians: Medians) -> Verdict:
        ours = medians[OURS][metric]
        return Verdict(f"{label} {ours:,.4g} {unit}".strip(), ours <= limit)

    return Bar(f"{label} ≤ {limit:g} {unit}".strip(), judge)


def at_least(metric: str, limit: float, unit: str = "") -> Bar:
    """Our own figure is no smaller."""

    def judge(medians: Medians) -> Verdict:
        ours = medians[OURS][metric]
        return Verdict(f"{ours:.2f} {unit}".strip(), ours >= limit)

    return Bar(f"≥ {limit:g} {unit}".strip(), judge)


def both(first: Bar, second: Bar) -> Bar:
    """Two bars for one row."""

    def judge(medians: Medians) -> Verdict:
        one, two = first.judge(medians), second.judge(medians)
        return Verdict(f"{one.text}; {two.text}", bool(one.reached and two.reached))

    return Bar(f"{first.text}; {second.text}", judge)
