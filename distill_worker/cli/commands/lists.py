"""The commands that list what a run can name: `methods`, `strategies`, `datasets`."""

from distill_worker.cli.options import AsJson


def methods(as_json: AsJson = False) -> None:
    """List the methods: what each needs and its source; --json adds the default parameters."""
    from distill_worker.cli.tables import lists

    lists.methods(as_json=as_json)


def strategies(as_json: AsJson = False) -> None:
    """List the strategies that select samples (budget.strategy): what each needs and its source."""
    from distill_worker.cli.tables import lists

    lists.strategies(as_json=as_json)


def datasets(as_json: AsJson = False) -> None:
    """List the data sets, and the formats of your own data that can be read."""
    from distill_worker.cli.tables import lists

    lists.datasets(as_json=as_json)
