# Every target installs its packages into .venv, and only if the lock file changed.
PYTHON ?= python3
UV := .venv/bin/uv
INSTALLED := .venv/.installed
BENCH_INSTALLED := .venv-bench/.installed
KSERVE_INSTALLED := .venv-kserve/.installed
DOCS_INSTALLED := .venv-docs/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test endurance check check-gpu format bench bench-service bench-training bench-guard bench-gpu bench-formats bench-batching bench-memory bench-history bench-cache bench-selection bench-decoding bench-startup fewer-calls selection ablation forecasts figures docs written-docs site docs-outputs lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(INSTALLED): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x $(UV) || { $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet uv==0.13.9; }
	$(UV) pip sync --quiet --python .venv/bin/python --require-hashes requirements-dev.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	touch $@

# The servers that the benchmarks compare with; never dependencies of the project itself.
$(BENCH_INSTALLED): requirements-bench.lock $(INSTALLED)
	test -x .venv-bench/bin/python || $(UV) venv --quiet --python .venv/bin/python .venv-bench
	$(UV) pip sync --quiet --python .venv-bench/bin/python --require-hashes requirements-bench.lock
	$(UV) pip install --quiet --python .venv-bench/bin/python --no-deps --editable .
	touch $@

# KServe's own client: tests use it against the service, but it does not resolve together with the service's packages.
$(KSERVE_INSTALLED): requirements-kserve.lock $(INSTALLED)
	test -x .venv-kserve/bin/python || $(UV) venv --quiet --python .venv/bin/python .venv-kserve
	$(UV) pip sync --quiet --python .venv-kserve/bin/python --require-hashes requirements-kserve.lock
	touch $@

# What builds the site of the documentation: a generator and its theme, and nothing of the project.
$(DOCS_INSTALLED): requirements-docs.lock $(INSTALLED)
	test -x .venv-docs/bin/python || $(UV) venv --quiet --python .venv/bin/python .venv-docs
	$(UV) pip sync --quiet --python .venv-docs/bin/python --require-hashes requirements-docs.lock
	touch $@

demo: $(INSTALLED) ## train a teacher, serve it, buy 50 outputs, compare students: CE, KD, CKD and auto
	@.venv/bin/distill-worker demo

# Compiled modules are kept: the tests start many processes, which import torch.
test endurance: export PYTHONDONTWRITEBYTECODE =

# `make test` writes neither figures nor docs, whatever the shell exports.
test: export TUITION_ENDURANCE =
test: export WRITE_DOCS =

test: $(INSTALLED) $(KSERVE_INSTALLED) $(DOCS_INSTALLED) ## run the tests (about 10 minutes on two cores)
	.venv/bin/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

endurance: export TUITION_ENDURANCE = 1
endurance: $(INSTALLED) $(KSERVE_INSTALLED) $(DOCS_INSTALLED) ## run the tests in full and record their figures (long)
	.venv/bin/pytest --numprocesses auto --maxprocesses 4 --dist worksteal -m "not alone"
	.venv/bin/pytest -m alone

check: $(INSTALLED) ## run ruff, mypy --strict and import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy .
	.venv/bin/lint-imports

check-gpu: $(INSTALLED) ## run the tests on a GPU, if there is one, and their twins on the CPU (3 minutes)
	@.venv/bin/python -c 'import torch; has = torch.cuda.is_available(); print("on", torch.cuda.get_device_name()) if has else print("no CUDA device: skipped the tests on a GPU; their twins run on the CPU")'
	.venv/bin/pytest -q -m gpu tests/gpu
	.venv/bin/pytest -q -m "not gpu" tests/gpu tests/distill_worker/training/test_no_waiting.py

format: $(INSTALLED) ## format the code with ruff
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: $(INSTALLED) bench-service ## run the service and loss benchmarks; figures go to benchmarks/results
	.venv/bin/python -m benchmarks.losses

bench-service: $(BENCH_INSTALLED) ## compare the service with a bare loop, FastAPI and LitServe (9 minutes)
	.venv/bin/python -m benchmarks.service
	.venv/bin/python -m benchmarks.service.freed_memory

# torch's profiler writes about itself otherwise.
bench-training bench-guard: export KINETO_LOG_LEVEL = 6

bench-training: $(BENCH_INSTALLED) ## compare training with the bare step and with other loops, and write docs/results/training-speed.md (10 minutes)
	.venv-bench/bin/python -m benchmarks.training

bench-guard: $(BENCH_INSTALLED) ## measure the main ratios of training again; fails if one is worse than committed (2 minutes)
	.venv-bench/bin/python -m benchmarks.training.guard

bench-gpu: $(INSTALLED) ## measure training on a GPU: precisions, batches, losses, several students (5 minutes)
	.venv/bin/python -m benchmarks.gpu

bench-formats: $(INSTALLED) ## measure a step in each precision and memory format on the CPU (5 minutes)
	.venv/bin/python -m benchmarks.formats

bench-batching: $(INSTALLED) ## measure batch sizes and batch timeouts of the model (3 minutes)
	.venv/bin/python -m benchmarks.service.batching

bench-memory: $(INSTALLED) ## measure how the service's memory grows over 200,000 requests
	.venv/bin/python -m benchmarks.memory

bench-history: $(INSTALLED) ## measure pages of a log of a million queries, on SQLite and PostgreSQL (10 minutes)
	.venv/bin/python -m benchmarks.history

bench-cache: $(INSTALLED) ## measure writing and reading 50,000 outputs in the cache
	.venv/bin/python -m benchmarks.cache

bench-selection: $(INSTALLED) ## measure choosing 5,000 of 50,000 samples, by strategy (5 minutes)
	.venv/bin/python -m benchmarks.selection

bench-decoding: $(INSTALLED) ## measure decoding 50,000 JPEGs once, and opening them and 300,000 small files again (15 minutes; 12 GB under runs)
	.venv/bin/python -m benchmarks.decoding runs/bench-decoding
	.venv/bin/python -m benchmarks.mapped runs/bench-decoding
	.venv/bin/python -m benchmarks.many_files runs/bench-many-files

bench-startup: $(INSTALLED) ## measure how long help, lists and keys take (1 minute); BEFORE=FOLDER compares a checkout
	.venv/bin/python -m benchmarks.startup $(BEFORE)

fewer-calls: $(INSTALLED) ## run the comparisons of examples/fewer-calls, and write the tables of docs/results/fewer-calls.md (many hours)
	mkdir -p runs/fewer-calls
	for name in digits fashion-mnist glyphs; do \
		.venv/bin/distill-worker compare examples/fewer-calls/$$name.toml --json > runs/fewer-calls/$$name.json || exit; \
	done
	.venv/bin/python -m benchmarks.fewer_calls runs/fewer-calls/*.json --keep docs/results/fewer-calls --into docs/results/fewer-calls.md

selection: $(INSTALLED) ## run the comparisons of strategies, and write the tables of docs/results/selection.md (hours)
	mkdir -p runs/selection
	for name in digits fashion-mnist glyphs; do \
		.venv/bin/distill-worker compare examples/fewer-calls/selection-$$name.toml --json > runs/selection/$$name.json || exit; \
	done
	.venv/bin/python -m benchmarks.fewer_calls runs/selection/*.json --keep docs/results/selection --into docs/results/selection.md

ablation: $(INSTALLED) ## take auto apart, and write the tables of docs/results/ablation.md (hours; after fewer-calls)
	mkdir -p runs/ablation
	for name in digits glyphs; do \
		.venv/bin/distill-worker compare examples/fewer-calls/ablation-$$name.toml --json > runs/ablation/$$name.json || exit; \
	done
	.venv/bin/python -m benchmarks.fewer_calls runs/ablation/*.json --keep docs/results/ablation --into docs/results/ablation.md

forecasts: $(INSTALLED) ## run the comparisons of examples/forecast, and write the tables of docs/results/forecast.md (hours)
	mkdir -p runs/forecast
	for name in digits fashion-mnist glyphs; do \
		.venv/bin/distill-worker compare examples/forecast/$$name.toml --json > runs/forecast/$$name.json || exit; \
	done
	.venv/bin/python -m benchmarks.forecast runs/forecast/*.json --into docs/results/forecast.md

figures: $(INSTALLED) ## print the latest of every figure, missed targets first
	@.venv/bin/python -m benchmarks.figures

site: $(DOCS_INSTALLED) ## build the site of the documentation into build/site, and check its links (10 seconds)
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet -c docs/website docs build/site
	@echo "Open build/site/index.html"

docs: written-docs site ## write the parts of docs/ that are generated from the code, and build the site

written-docs: $(INSTALLED)
	.venv/bin/python docs/write_configuration.py
	.venv/bin/python docs/write_results.py
	.venv/bin/python docs/write_index.py
	.venv/bin/python docs/draw_method.py
	.venv/bin/python -m benchmarks.calls_picture docs/results/fewer-calls/fashion-mnist.json docs/results/fewer-calls/glyphs.json --into docs/images/calls-against-accuracy.svg
	.venv/bin/python -m teacher_service.cli.write_docs docs
	.venv/bin/python docs/draw_rooms.py
	.venv/bin/python docs/write_checks.py
	WRITE_DOCS=1 .venv/bin/pytest -q tests/distill_worker/data/pictures/test_kinds.py tests/end_to_end/test_doctor.py -k "page"

docs-outputs: $(INSTALLED) ## write the table of docs/outputs.md from real runs (1 minute)
	WRITE_DOCS=1 .venv/bin/pytest -q tests/end_to_end/test_every_output.py

lock: ## resolve the dependencies again (with hashes, without an index)
	test -x $(UV) || { $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet uv==0.13.9; }
	$(UV) pip compile pyproject.toml --extra onnx --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	$(UV) pip compile pyproject.toml --extra dev --extra hugging-face --extra mlflow --extra onnx --extra parquet --extra ray --extra wandb -c requirements.lock --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-dev.lock
	$(UV) pip compile pyproject.toml --extra bench -c requirements.lock --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-bench.lock
	$(UV) pip compile --group kserve --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-kserve.lock
	$(UV) pip compile --group docs --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-docs.lock

clean: ## remove .venv and caches; keep bought outputs (runs/)
	rm -rf .venv .venv-bench .venv-docs .venv-kserve .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
