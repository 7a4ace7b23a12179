"""What Python code uses: `buy`, `distill`, `load` and `Objective`, which `distill_worker` itself exports.

It states a run as the command line does, and hands it to what the commands do: nothing is bought or trained otherwise.
"""
