"""The real command, whose demo trains a smaller teacher, and each student for fewer steps."""

import runpy
from dataclasses import replace

from distill_worker.experiments import demo

if __name__ == "__main__":
    digits = demo._PRESETS["digits"]
    shorter = replace(digits, teacher_network="resnet8", teacher_steps=80, steps=40)
    demo._PRESETS["digits"] = replace(shorter, queried_steps=40, pool_steps=40)
    runpy.run_module("distill_worker", run_name="__main__")
