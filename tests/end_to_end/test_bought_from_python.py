"""`buy` from a script that is killed: each output is paid once, and is the teacher's."""

from pathlib import Path

import torch

from shared.normalise import normalise
from shared.weights import load_weights
from tests.end_to_end.asking import wait_until
from tests.end_to_end.buying_from_python import bought, images
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import kill, start

N = 60
IN_FLIGHT = 4
"""Two requests of two samples: see `bought`."""


def test_killed_script_pays_once(start_service: StartService, weights: Path, tmp_path: Path) -> None:
    """SIGKILL at three points of the purchase; the last call buys the rest."""
    service = start_service(SECONDS_A_PASS="0.05")
    key = service.create_key("python", quota=N)
    cache = str(tmp_path / "bought.sqlite")
    arguments = [service.url, key, str(N), cache]
    for number, killed_at in enumerate((1, N // 3, 2 * N // 3)):
        process = start("tests.end_to_end.buying_from_python", arguments, tmp_path / f"script-{number}.log")
        wait_until(lambda at=killed_at: service.quota(key)["used"] >= at)  # type: ignore[misc]
        kill(process)
    last = bought(service.url, key, N, cache)
    assert service.quota(key)["used"] == N
    assert len(last) == N
    assert last.remaining in range(IN_FLIGHT + 1), "the last requests of the killed script may be charged late"
    card, network, _ = load_weights(weights)
    with torch.no_grad():
        logits = network(normalise(torch.from_numpy(images()), card.mean, card.std))
    torch.testing.assert_close(
        last.log_probabilities[last.held], logits.log_softmax(dim=1)[last.held], atol=1e-4, rtol=0
    )
    again = bought(service.url, key, N, cache)
    assert (again.calls, service.quota(key)["used"]) == (0, N)
