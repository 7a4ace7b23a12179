"""Clients that keep asking two services which die now and then, and remember what they were given.

A request with an Idempotency-Key is repeated, at whichever service, until it is answered or refused for good; one
without is sent once, and may be lost.
"""

import random
import time
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Final

import httpx

from tests.end_to_end.asking import ask, outcome
from tests.end_to_end.processes import RunningService
from tests.endurance import HANG_SECONDS

_COMES_BACK_SECONDS: Final = 0.02
_LATER: Final = ("request-in-progress", "ledger-unavailable", "key-changed")


@dataclass(frozen=True)
class Bought:
    """One answer that a client holds."""

    api_key: str
    request_id: str
    idempotency_key: str | None
    samples: int
    content: bytes


@dataclass
class Customers:
    """Many clients. The first key's quota is ample; the second's runs out while they race for it."""

    services: list[RunningService]
    ample: str
    scarce: str
    seed: int
    bought: list[Bought] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Idempotency-Keys for which the quota did not suffice."""
    changed: int = 0
    """Answers that came again with other bytes."""
    problems: list[str] = field(default_factory=list)
    _enough: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _threads: list[Thread] = field(default_factory=list)

    def come(self, number: int) -> None:
        """They begin to ask."""
        self._threads = [Thread(target=self._ask_on, args=(index,), daemon=True) for index in range(number)]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Each finishes what it began, and asks no more."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, index: int) -> None:
        chance = random.Random(self.seed + index)
        scarce_left, number = True, 0
        while not self._enough.is_set():
            number += 1
            name, samples = f"c{index}-{number}", chance.randint(1, 3)
            if scarce_left and chance.random() < 0.3:
                scarce_left = self._ask_until_answered(chance, self.scarce, name, samples)
            elif chance.random() < 0.8:
                self._ask_until_answered(chance, self.ample, name, samples)
            else:
                self._ask_once(chance, name, samples)

    def _ask_until_answered(self, chance: random.Random, api_key: str, name: str, samples: int) -> bool:
        """Whether the quota sufficed."""
        attempt, deadline = 0, time.monotonic() + HANG_SECONDS
        while True:
            attempt += 1
            if time.monotonic() > deadline:
                self.problems.append(f"{name}: not answered within {HANG_SECONDS} s")
                return False
            try:
                answer = ask(
                    chance.choice(self.services), api_key, samples, name, {"X-Request-Id": f"{name}-{attempt}"}
                )
            except httpx.TransportError:
                time.sleep(_COMES_BACK_SECONDS)
                continue
            match outcome(answer):
                case "answered" | "replayed":
                    break
                case "quota-exceeded":
                    with self._lock:
                        self.refused.add(name)
                    return False
                case later if later in _LATER:
                    time.sleep(_COMES_BACK_SECONDS)
                case other:
                    self.problems.append(f"{name}: {other}")
                    return True
        with self._lock:
            self.bought.append(Bought(api_key, f"{name}-{attempt}", name, samples, answer.content))
        if chance.random() < 0.1:
            self._ask_again(chance, api_key, name, samples, answer.content)
        return True

    def _ask_again(self, chance: random.Random, api_key: str, name: str, samples: int, content: bytes) -> None:
        try:
            again = ask(chance.choice(self.services), api_key, samples, name)
        except httpx.TransportError:
            return
        if again.status_code == 200:
            self.changed += again.content != content or outcome(again) != "replayed"

    def _ask_once(self, chance: random.Random, name: str, samples: int) -> None:
        try:
            answer = ask(chance.choice(self.services), self.ample, samples, None, {"X-Request-Id": name})
        except httpx.TransportError:
            return
        match outcome(answer):
            case "answered":
                with self._lock:
                    self.bought.append(Bought(self.ample, name, None, samples, answer.content))
            case later if later not in _LATER:
                self.problems.append(f"{name}: {later}")
