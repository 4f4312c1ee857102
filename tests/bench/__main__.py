"""Measures, prints a table and writes a JSON file: python -m bench, inside the environment of ./setup/bench."""

import argparse
import importlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import MEASURES, Measure, Outcome
from bench.servers import Bench, describe_machine

_logger = logging.getLogger(__name__)

# In the order in which they are measured. Importing one registers what it measures.
MODULES = [
    "webhook",
    "sending",
    "desk",
    "deployment",
]
PASSED, FAILED, WRONG_CALL = 0, 1, 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./setup/bench")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="KEY", action="extend")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def load_measures() -> None:
    for name in MODULES:
        importlib.import_module(f"bench.{name}")


def run(measures: list[Measure], quick: bool) -> Iterator[tuple[Measure, Outcome | None, str | None]]:
    """Measure one after the other; what fails keeps none of the others from being measured.

    :return: each with its outcome or its error, as soon as it is known
    """
    with Bench(quick) as bench:
        for measure in measures:
            print(f"==> {measure.key}", file=sys.stderr, flush=True)
            try:
                outcome = measure.function(bench)
            except Exception as error:  # the other measures go on
                _logger.exception("%s could not be measured", measure.key)
                yield measure, None, f"{type(error).__name__}: {error}"
            else:
                yield measure, outcome, None


def format_row(measure: Measure, outcome: Outcome | None, error: str | None) -> list[str]:
    """Return the cells of the table: key, value, goal, verdict, what else was found."""
    if outcome is None:
        return [measure.key, "", measure.goal or "", "ERROR", error or ""]
    value = "" if outcome.value is None else f"{outcome.value:.3g} {measure.unit}".strip()
    verdict = {True: "met", False: "MISSED", None: ""}[measure.is_met(outcome.value)]
    rates = [f"{name}: {figure:.4g}" for name, figure in outcome.rates.items()]
    return [measure.key, value, measure.goal or "report", verdict, "; ".join([*rates, outcome.note]).strip("; ")]


def print_table(rows: list[list[str]]) -> None:
    """Print rows below their heads, each column as wide as it must be."""
    rows = [["key", "value", "goal", "", "absolute"], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def make_json(measures: list[Measure], outcomes: dict[str, Outcome]) -> dict:
    """Return the values by key, and what belongs to each under "details"."""
    found = [measure for measure in measures if measure.key in outcomes]
    details = {
        measure.key: {
            "goal": measure.goal,
            "is_met": measure.is_met(outcomes[measure.key].value),
            "unit": measure.unit,
            "over": measure.over,
            "rates": outcomes[measure.key].rates,
            "note": outcomes[measure.key].note,
        }
        for measure in found
    }
    return {**{measure.key: outcomes[measure.key].value for measure in found}, "details": details}


def main() -> int:
    arguments = parse_arguments()
    load_measures()
    unknown = set(arguments.only or ()) - set(MEASURES)
    if unknown:
        print(f"error: nothing measures {', '.join(sorted(unknown))}", file=sys.stderr)
        return WRONG_CALL
    measures = [measure for key, measure in MEASURES.items() if not arguments.only or key in arguments.only]
    if arguments.list:
        for measure in measures:
            print(f"{measure.key} {measure.goal or ''}: {measure.over}")
        return PASSED
    machine = describe_machine()
    outcomes, errors, rows = {}, {}, []
    started = time.monotonic()
    for measure, outcome, error in run(measures, arguments.quick):
        if outcome is None:
            errors[measure.key] = error
        else:
            outcomes[measure.key] = outcome
        rows.append(format_row(measure, outcome, error))
        print(f"    {' '.join(rows[-1][1:])} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
        started = time.monotonic()
        # Written at once, so that a stopped bench keeps its results.
        if arguments.json:
            content = make_json(measures, outcomes)
            content |= {"quick": arguments.quick, "machine": machine, "errors": errors}
            arguments.json.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print_table(rows)
    print("\n" + "; ".join(f"{name}: {value}" for name, value in machine.items()))
    return FAILED if errors else PASSED


if __name__ == "__main__":
    sys.exit(main())
