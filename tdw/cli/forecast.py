"""`tdw forecast`: what is known, as of an epoch, of whether and when runs will generalize."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tdw import interrupts
from tdw.cli.streams import say, say_json
from tdw.text_format import count

if TYPE_CHECKING:
    from tdw.statistics.forecast import Forecast, Forecasts
    from tdw.statistics.judgment import Estimate, Judgment

OF = {"seeds": "new seeds, known settings", "settings": "new settings, known seeds", "both": "new seeds and settings"}


def forecast_command(arguments: argparse.Namespace) -> None:
    """Forecast, as of an epoch, whether and when runs generalize, where such forecasts were good on held-out runs."""
    from tdw.statistics.forecast import forecast

    interrupts.at_work()
    found, judged = forecast(
        arguments.folder, arguments.run, at=arguments.at, with_settings=not arguments.without_settings
    )
    if arguments.json:
        say_json(_plain(found, judged))
        return
    for one in found:
        say(f"{one.path}: as of epoch {one.epoch}, {sentence(one)}")
    if not found:
        say(
            judged.why_none
            or "Every run in the folder has generalized, or was followed to the end: name a run to see what was known of it."
        )
    if judged.why_none is None and (not found or any(one.known != "generalized" for one in found)):
        say("", *_basis(judged), *(line for one in judged.judgments.values() for line in _quality(one)))


def sentence(one: Forecast) -> str:
    """A forecast in words."""
    if one.known == "generalized":
        return f"it had generalized: {one.why}"
    if one.probability is None:
        return f"nothing is known: {one.why}"
    return (
        f"generalizes by epoch {one.horizon} with a probability of {one.probability:.0%}; if it does, "
        f"with 80 % between epochs {one.low:.0f} and {one.high:.0f}"
    )


def _basis(judged: Forecasts) -> list[str]:
    at = judged.landmark
    used = (
        f"with the settings {', '.join(judged.settings)}"
        if judged.with_settings and judged.settings
        else "without settings"
    )
    lines = [
        f"Learned {used} from {count(judged.runs, 'run')} that had not generalized by epoch {at.epoch}: by epoch "
        f"{at.epoch + at.horizon:.0f}, {int(at.happened.sum())} had."
    ]
    return lines + [f"Left out: {count(number, 'run')} {reason}." for reason, number in judged.left_out.items()]


def _quality(one: Judgment) -> list[str]:
    from tdw.statistics.judgment import REFERENCES

    head = f"{OF[one.held_out]}: "
    if one.brier is None or one.coverage is None:
        return [f"{head}nothing is known, because {one.why_not}."]
    verdict = "forecasts are given" if one.knows else f"nothing is known, because {one.why_not}"
    scores = [f"{REFERENCES[name]} {_number(value)}" for name, value in one.references.items()]
    return [
        f"{head}{verdict}.",
        f"  Brier score on {one.runs} held-out runs (smaller is better): forecast {_number(one.brier)}, {', '.join(scores)}",
        f"  80 % intervals covered {one.coverage.value:.0%} ({one.coverage.low:.0%} to {one.coverage.high:.0%}) of {one.generalized} that "
        "generalized",
    ]


def _number(value: Estimate) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _plain(found: list[Forecast], judged: Forecasts) -> dict[str, Any]:
    return {
        "forecasts": [{**asdict(one), "path": str(one.path)} for one in found],
        "judgments": {name: asdict(one) | {"knows": one.knows} for name, one in judged.judgments.items()},
        "runs": judged.runs,
        "left_out": dict(judged.left_out),
        "settings": judged.settings if judged.with_settings else [],
    }
