"""What `distill-worker forecast --json` prints."""

import json

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.forecast.answers import Price, answers
from distill_worker.experiments.forecast.forecast import Forecast
from tests.distill_worker.experiments.forecast.curves import SIZES, exact, law, measured


@pytest.mark.parametrize(
    ("pool", "sizes"), [(None, [1000, 2000]), (5000, [1000, 2000]), (1500, [1000, 1500]), (800, [800])]
)
def test_usual_sizes_are_twice_and_four_times_the_largest_within_the_data_set(
    pool: int | None, sizes: list[int]
) -> None:
    facts = answers(Forecast(measured(0.1, 2, -0.5), pool=pool))
    assert [forecast["n"] for forecast in facts["forecasts"]] == sizes
    assert facts["wanted"] is None


def test_nothing_is_forecast_where_everything_is_bought() -> None:
    with pytest.raises(ConfigError, match="expected samples that are not bought yet, got none: the data set has 500"):
        answers(Forecast(measured(0.1, 2, -0.5), pool=500))


def test_wanted_accuracy_has_calls_and_their_price() -> None:
    """The exact curve 0.1 + 2 n^-0.5 has an error of 0.16 at n = (2 / 0.06)^2, or 1,112."""
    forecast = Forecast(exact(law(0.1, 2, -0.5, SIZES).tolist()))
    facts = answers(forecast, accuracy=0.84, price=Price(0.5, "EUR"))
    wanted = facts["wanted"]
    assert facts["forecasts"] == []
    assert wanted["calls"] == pytest.approx(1112 - 500, abs=10)
    assert (wanted["price"], wanted["price_per_call"], wanted["currency"]) == (0.5 * wanted["calls"], 0.5, "EUR")
    assert "price" not in answers(forecast, accuracy=0.84)["wanted"]


def test_facts_are_json_and_have_no_asymptote() -> None:
    facts = json.loads(json.dumps(answers(Forecast(measured(0.1, 2, -0.5)), n=900, accuracy=0.83)))
    assert set(facts) == {"method", "seeds", "measured", "farthest", "forecasts", "wanted"}
    assert set(facts["forecasts"][0]) == {"n", "accuracy", "low", "high"}
    assert set(facts["wanted"]) == {"accuracy", "calls", "low", "high", "next_purchase"}
    assert [size["n"] for size in facts["measured"]] == list(SIZES)
