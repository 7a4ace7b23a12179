"""Write a ledger, a cache, a finished run and an unfinished one with the code as it is: kept, and opened by later code.

    python -m tests.written_before.write_files FOLDER

It uses the commands alone, so that it runs unchanged on any version. Run it in the repository's root. The student that
is left unfinished is killed as soon as its first checkpoint is on disk.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

CONFIG: Final = """\
[data]
name = "digits"

[teacher]
url = "http://127.0.0.1:1"
request_size = 10

[budget]
n = 40

[student]
network = "tests/written_before/tiny.py:tiny"

[method]
name = "ckd"
pairing = "drawn"
k = 3

[[plus]]
name = "kd"

[training]
steps = 60

[output]
directory = "finished"
cache = "cache.sqlite"
"""
TEACHER: Final = """\
[data]
name = "digits"

[student]
network = "tests/written_before/tiny.py:tiny"

[method]
name = "ce"

[training]
steps = 400

[output]
directory = "teacher"
"""
UNFINISHED: Final = ("training.seed=1", "training.steps=4000", "training.checkpoint_every=50")


def main(folder: Path) -> None:
    """Write everything into `folder`, which must not exist."""
    folder.mkdir(parents=True)
    teacher, run = folder / "teacher.toml", folder / "run.toml"
    teacher.write_text(TEACHER)
    run.write_text(CONFIG)
    _worker("train", teacher, "--set", f"output.directory={folder / 'teacher'}")
    service = {"TEACHER_DATA_DIR": str(folder), "TEACHER_PORT": "0", "TEACHER_TRUST_CODE": "true"}
    key = json.loads(_call("teacher_service", "keys", "create", "--name", "a", "--quota", "60", "--json", **service))
    weights = folder / "teacher" / "student.safetensors"
    serving = subprocess.Popen(
        [sys.executable, "-m", "teacher_service", "serve", "--weights", str(weights)],
        env=os.environ | service | {"TEACHER_ANSWER_RETENTION_HOURS": "inf"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().strip()
        # The address is another each time, and a cache remembers the teacher by it: the one in the file is kept out.
        bought = {"TEACHER_URL": address, "TEACHER_API_KEY": key["key"]}
        places = [f"output.directory={folder / 'finished'}", f"output.cache={folder / 'cache.sqlite'}"]
        _worker("run", run, "--yes", *_set(places), **bought)
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait()
    places[0] = f"output.directory={folder / 'unfinished'}"
    _kill_after_first_checkpoint(folder / "unfinished", "train", run, *_set([*places, *UNFINISHED]))
    head = _call("teacher_service", "log", "verify", **service).strip()
    (folder / "facts.json").write_text(json.dumps({"key": key, "verified": head}, indent=2) + "\n")
    for left in (*folder.glob("*.sqlite.*"), *folder.glob("*/.lock")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _worker(command: str, config: Path, *arguments: str, **environment: str) -> None:
    _call("distill_worker", command, str(config), *arguments, **environment)


def _call(module: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _set(settings: Any) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _kill_after_first_checkpoint(directory: Path, command: str, config: Path, *arguments: str) -> None:
    training = subprocess.Popen([sys.executable, "-m", "distill_worker", command, str(config), *arguments])
    while not (directory / "checkpoint.pt").exists():
        if training.poll() is not None:
            raise RuntimeError("the training ended before its first checkpoint; raise training.steps")
        time.sleep(0.001)
    training.kill()
    training.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
