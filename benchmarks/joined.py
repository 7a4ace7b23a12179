"""Join what a comparison printed with what a later part of it printed, on another day or machine.

`python -m benchmarks.joined WHOLE.json PART.json` prints how many of the results that both have are the same to the
last digit, and writes WHOLE.json with the part's results in place of its own, or beside them. The equivalent calls are
computed again.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.tables_page import Facts, kept
from distill_worker.experiments.results.equivalent_calls import equivalents

_SHARED: Final = ("data", "student", "precision", "seeds", "baseline")
"""What both must have; they must also have the same teacher."""


def main() -> None:
    """Read the two, join them, and write the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whole", type=Path, help="what distill-worker compare --json printed, and is to be written")
    parser.add_argument("part", type=Path, help="what it printed for fewer rows or sizes of the same comparison")
    arguments = parser.parse_args()
    whole, part = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.whole, arguments.part))
    arguments.whole.write_text(kept(joined(whole, part)), encoding="utf-8")
    print(agreement(whole, part))


def joined(whole: Facts, part: Facts) -> dict[str, Any]:
    """The facts of a comparison, with the results of a later part: a row of both at one n and seed is the part's.

    Raises:
        SystemExit: they differ in the teacher, the data, the student, its precision, the seeds or the baseline.
    """
    values = [[facts["teacher"]["id"], *(facts[name] for name in _SHARED)] for facts in (whole, part)]
    if values[0] != values[1]:
        raise SystemExit(f"expected two parts of one comparison, with the same teacher and {_SHARED}, got {values}")
    results = {_key(result): result for result in (*whole["results"], *part["results"])}
    facts = {**whole, "results": list(results.values())}
    return facts | ({} if whole["reference"] is None else {"equivalent_calls": equivalents(facts)})


def agreement(whole: Facts, part: Facts) -> str:
    """How many results of the part the whole already had with as many steps, and how many of these are equal."""
    before = {_key(result): result for result in whole["results"]}
    pairs = [(before[key], result) for result in part["results"] if (key := _key(result)) in before]
    alike = [(first, second) for first, second in pairs if first["steps"] == second["steps"]]
    equal = sum(first["accuracy"] == second["accuracy"] for first, second in alike)
    return f"{len(part['results'])} results joined; {equal} of {len(alike)} with as many steps are equal"


def _key(result: Mapping[str, Any]) -> tuple[str, int, int]:
    return result["method"], result["n"], result["seed"]


if __name__ == "__main__":
    main()
