"""Tables out of the JSON of comparisons, printed or put into a page of docs/results/ between two lines of it."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

Facts = Mapping[str, Any]
"""Of one comparison: see `run_comparison`."""

BEGIN: Final = "<!-- tables -->\n"
END: Final = "<!-- end -->"


def print_or_insert(tables_of: Callable[[Mapping[str, Facts]], str], *, page_name: str, title: str) -> None:
    """The command line of a benchmark of comparisons.

    Args:
        tables_of: the tables in Markdown, from the comparisons by name.
        page_name: the page in docs/results/ that they belong to.
        title: of the page, if it is not there yet.
    """
    parser = argparse.ArgumentParser(description=f"Print the tables of docs/results/{page_name}.")
    parser.add_argument("results", nargs="+", type=Path, help="what distill-worker compare --json printed")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="the page whose tables to replace")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the results there, without this machine's paths"
    )
    arguments = parser.parse_args()
    comparisons = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results}
    tables = tables_of(comparisons)
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for name, facts in comparisons.items():
            (arguments.keep / f"{name}.json").write_text(kept(facts), encoding="utf-8")
    if (place := arguments.into) is None:
        print(tables)
    else:
        page = place.read_text(encoding="utf-8") if place.exists() else f"# {title}\n\n{BEGIN}{END}\n"
        place.write_text(with_tables(page, tables), encoding="utf-8")


def kept(facts: Facts) -> str:
    """The JSON of a comparison without paths of its machine, each of its results on a line."""
    teacher = {name: value for name, value in facts["teacher"].items() if name != "weights"}
    lines = [f"{json.dumps(name)}: {_lines(value)}" for name, value in {**facts, "teacher": teacher}.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(value: Any) -> str:
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return json.dumps(value)
    return "[\n  " + ",\n  ".join(json.dumps(entry) for entry in value) + "\n]"


def with_tables(page: str, tables: str) -> str:
    """The page with these tables between its two lines. Raises `ValueError` if the page lacks them."""
    written, count = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _match: f"{BEGIN}{tables}\n{END}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"expected one pair of the lines {BEGIN.strip()} and {END}, got {count}")
    return written
