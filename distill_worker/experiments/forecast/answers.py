"""What a forecast answers, JSON-able: the accuracy with n samples, and the calls for a wanted accuracy."""

from dataclasses import asdict
from typing import Any, NamedTuple

from distill_worker.errors import ConfigError
from distill_worker.experiments.forecast.forecast import FARTHEST, Forecast


class Price(NamedTuple):
    """What one call costs."""

    per_call: float
    currency: str


def answers(
    forecast: Forecast, *, n: int | None = None, accuracy: float | None = None, price: Price | None = None
) -> dict[str, Any]:
    """What is measured, and what follows from it.

    Args:
        forecast: from a measured curve.
        n: the samples whose accuracy is wanted. With neither `n` nor `accuracy`, it is 2 and 4 times the largest size.
        accuracy: the wanted accuracy, a share of the test images.
        price: of a call, if it is known.

    Raises:
        ConfigError: see `Forecast.at` and `Forecast.calls_for`; or no more samples can be bought.
    """
    curve = forecast.curve
    sizes = [n] if n is not None else [] if accuracy is not None else _usual_sizes(forecast)
    return {
        "method": curve.method,
        "seeds": curve.seeds,
        "measured": [
            {"n": size, "accuracies": (1 - errors).round(9).tolist()}
            for size, errors in zip(curve.sizes, curve.errors.T, strict=True)
        ],
        "farthest": forecast.farthest,
        "forecasts": [asdict(forecast.at(size)) for size in sizes],
        "wanted": None if accuracy is None else _wanted(forecast, accuracy, price),
    }


def _usual_sizes(forecast: Forecast) -> list[int]:
    largest, farthest = forecast.curve.largest, forecast.farthest
    if farthest <= largest:
        raise ConfigError(
            f"forecast: expected samples that are not bought yet, got none: the data set has {farthest} to buy"
        )
    return sorted({min(2 * largest, farthest), min(FARTHEST * largest, farthest)})


def _wanted(forecast: Forecast, accuracy: float, price: Price | None) -> dict[str, Any]:
    wanted = forecast.calls_for(accuracy)
    facts = {**asdict(wanted), "next_purchase": wanted.next_purchase}
    if price is not None:
        facts |= {"price": round(wanted.calls * price.per_call, 9), "price_per_call": price.per_call}
        facts |= {"currency": price.currency}
    return facts
