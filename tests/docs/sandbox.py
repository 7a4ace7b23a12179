"""A folder in which the commands of a page are run, with a real teacher service behind its addresses."""

import os
import re
import shutil
from dataclasses import dataclass, field
from itertools import count, pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.docs.commands import Command
from tests.docs.pages import ROOT
from tests.end_to_end.processes import RunningService, free_port, http, join, kill, start
from tests.endurance import HANG_SECONDS
from tests.small_teacher import small_teacher

_MODULES: Final = {"distill-worker": "distill_worker", "teacher-service": "teacher_service"}
_RUN: Final = """
[data]
name = "digits"
[student]
network = "resnet8"
[method]
name = "kd"
[budget]
n = 120
[training]
steps = 2
batch_size = 8
device = "cpu"
[teacher]
expect_agreement = false
[output]
directory = "runs/digits-ckd"
"""
"""The file `run.toml` of the pages. An untrained teacher agrees with no labels."""
_PHOTOS: Final = 600


def untrained_teacher(path: Path) -> Path:
    """A weights file of a resnet8 for digits."""
    return small_teacher(path, mean=(0.3,), std=(0.4,))


@dataclass
class Sandbox:
    """The working directory of a page, and the environment that its commands set."""

    folder: Path
    teacher: RunningService
    key: str
    environment: dict[str, str] = field(default_factory=dict)
    served: list[ForkServerProcess] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    """Of the services that the page starts."""
    numbers: "count[int]" = field(default_factory=count)

    def fill(self) -> None:
        """Write the files that the pages name."""
        (self.folder / "run.toml").write_text(_RUN)
        shutil.copytree(ROOT / "examples", self.folder / "examples")
        for name in ("digits", "digits-teacher"):
            example = self.folder / "examples" / f"{name}.toml"
            text = re.sub(r"(?m)^steps = \d+", "steps = 2", example.read_text())
            text = re.sub(r"(?m)^threads = \d+", "threads = 1", text)  # others run at the same time
            example.write_text(text.replace("[teacher]", "[teacher]\nexpect_agreement = false"))
        images = (load_digits().images / 16 * 255).astype(np.uint8)
        for name, chosen in (("photos", images[:_PHOTOS]), ("new-photos", images[-3:])):
            (self.folder / name).mkdir()
            for number, image in enumerate(chosen):
                Image.fromarray(image).save(self.folder / name / f"{number}.png")
        shutil.copy(self.folder / "new-photos" / "0.png", self.folder / "seven.png")

    def run(self, command: Command) -> None:
        """Run a command of the page; the test fails if it does."""
        rule = command.rule
        assert rule is not None
        program, *arguments = [self._real(word) for word in (*command.words, *rule.further)]
        if program == "export":
            self.environment |= dict(word.split("=", 1) for word in arguments)
        elif program == "curl":
            self._get(arguments)
        elif arguments[0] == "serve":
            self._serve(program, arguments)
        else:
            self._call(program, arguments, command.text)

    def _call(self, program: str, arguments: list[str], text: str) -> None:
        log = self.folder / f"command-{next(self.numbers)}.log"
        process = start(_MODULES[program], arguments, log, self._whole_environment(), self.folder)
        join(process)
        assert process.exitcode == 0, f"{text}: status {process.exitcode}\n{log.read_text()}"
        if (shown := re.search(r"\btk_\w+", log.read_text())) is not None:
            self.key = shown[0]

    def _serve(self, program: str, arguments: list[str]) -> None:
        log = self.folder / f"service-{next(self.numbers)}.log"
        environment = self._whole_environment() | {"TEACHER_PORT": str(self.port)}
        process = start(_MODULES[program], arguments, log, environment, self.folder)
        self.served.append(process)
        service = RunningService(Path(), self.folder, port=self.port, process=process)
        (self.folder / "service.log").symlink_to(log)
        service.wait_until_ready()

    def _get(self, arguments: list[str]) -> None:
        """What `curl` with a header and an address does."""
        [header] = [value for option, value in pairwise(arguments) if option == "-H"]
        name, _, value = header.partition(": ")
        response = http().get(arguments[-1], headers={name: value}, timeout=HANG_SECONDS)
        assert response.status_code == 200, response.text

    def _real(self, word: str) -> str:
        """A word of a command with a real address and a real key in place of those of the page."""
        word = word.replace("https://teacher.example.org", self.teacher.url)
        word = word.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{self.port}")
        word = re.sub(r"\$\(cat (\S+)\)", lambda file: (self.folder / file[1]).read_text().strip(), word)
        return re.sub(r"\btk_\.\.\.", self.key, word)

    def _whole_environment(self) -> dict[str, str]:
        given = {"TEACHER_URL": self.teacher.url, "TEACHER_API_KEY": self.key} if self._names_no_teacher() else {}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **given, **self.environment}

    def _names_no_teacher(self) -> bool:
        return not {"TEACHER_URL", "TEACHER_API_KEY_FILE"} & set(self.environment)

    def close(self) -> None:
        """Kill what the page started."""
        for process in self.served:
            kill(process)
