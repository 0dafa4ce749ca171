# `make book` builds the site, `make test` runs every test; both set up .venv first.
# `make assignments` writes what students get; `make grade SUBMISSIONS=folder` grades what comes back.
# `make standalone` writes notebooks that carry the course library; `make address` writes the
# repository's address of _config.yml into the chapters; `make links` asks every link for an answer.
# `make record SCALE=hour` records every experiment; stopped, it goes on when it is called again.
# `make bench` times d2l's lesson and the course's on this machine.
# RESNETS_DATA may name a folder that holds FashionMNIST/raw/*.gz.
PYTHON ?= $(firstword $(foreach v,3 3.13 3.12 3.11,$(shell python$(v) -c \
	'import sys; print(sys.executable) if (3, 11) <= sys.version_info < (3, 14) else None' 2>/dev/null)))
BIN := .venv/bin
CHAPTERS := $(sort $(wildcard book/[0-9]*.ipynb))
NOTEBOOKS := $(sort $(wildcard book/*.ipynb book/assignments/*.ipynb))
GRADING := PYTHONPATH=book:book/assignments $(BIN)/python -m grading
PUBLISHING := PYTHONPATH=book $(BIN)/python -m publishing
ifdef RESNETS_DATA
override RESNETS_DATA := $(abspath $(RESNETS_DATA))
export RESNETS_DATA
endif

.PHONY: book test assignments grade standalone address links execute record bench lock clean

book: _build/assignments/written
	@# An incremental build does not see changed style sheets, and passes where one before it failed.
	PYTHONPATH=book $(BIN)/jupyter-book build . -W --keep-going \
		$$(test -z "$$(find book/_static -newer _build/html/searchindex.js 2>&1)" || echo --all) \
		|| { rm -rf _build/html _build/.doctrees; exit 1; }
	@echo "Open $(abspath _build/html/index.html)"

test: .venv/grading
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# A line of 76 characters fits beside the site's menus, and is readable on a phone.
	$(BIN)/ruff check --line-length 76 --select E501 $(CHAPTERS)
	$(BIN)/ruff format --check --line-length 76 $(CHAPTERS)
	@# Two files at a time, each with half the cores: on two cores faster than one after the other.
	OMP_NUM_THREADS=$$($(BIN)/python -c "import os; print(max(1, os.cpu_count() // 2))") \
	$(BIN)/pytest -n 2 --dist loadfile --durations=10 --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-kernel-startup-timeout=120 --nbval-sanitize-with tests/nbval.cfg $(NOTEBOOKS) tests

assignments: _build/assignments/written

grade: .venv/grading  # SUBMISSIONS=folder [GRADES=folder] [CONFINEMENT=bubblewrap|container|none]
	@test -n "$(SUBMISSIONS)" || { echo "Name the folder that holds the submissions: make grade SUBMISSIONS=folder"; exit 1; }
	@$(GRADING) grade "$(SUBMISSIONS)" --output "$(or $(GRADES),grades)" --confinement "$(or $(CONFINEMENT),bubblewrap)"

standalone: _build/assignments/written
	@$(PUBLISHING) standalone _build/standalone
	@mkdir -p _build/standalone/assignments
	@cp _build/assignments/*.ipynb _build/standalone/assignments
	@echo "Student versions are in _build/standalone/assignments"

address: .venv/installed
	@$(PUBLISHING) address

links: _build/assignments/written
	PYTHONPATH=book $(BIN)/jupyter-book build . --builder linkcheck --path-output _build/linkcheck

execute: .venv/installed  # every notebook again, top to bottom, outputs kept
	PYTHONPATH=book $(BIN)/python tests/execute.py $(NOTEBOOKS)

record: .venv/installed  # [SCALE=quick|hour|full]
	$(BIN)/python -m resnets record $(if $(SCALE),--scale $(SCALE))

bench: .venv/installed  # [SCALE=quick|hour|full]
	$(BIN)/python -m resnets bench $(if $(SCALE),--scale $(SCALE))

lock:  # needs uv
	uv pip compile --quiet --universal --generate-hashes --group book --group test --group build \
		--output-file requirements.txt pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --group grading --constraint requirements.txt \
		--output-file book/assignments/requirements.txt

clean:
	rm -rf .venv _build

.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it with PYTHON=…"; exit 1; }
	rm -rf .venv
	if command -v uv >/dev/null; then \
		uv venv --quiet --python "$(PYTHON)" .venv && \
		uv pip install --quiet --no-deps --verify-hashes --compile-bytecode --python $(BIN)/python -r requirements.txt && \
		uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .; \
	else \
		"$(PYTHON)" -m venv .venv && \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt && \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	touch $@

.venv/grading: .venv/installed book/assignments/requirements.txt
	if command -v uv >/dev/null; then \
		uv pip install --quiet --no-deps --verify-hashes --compile-bytecode --python $(BIN)/python -r book/assignments/requirements.txt; \
	else \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r book/assignments/requirements.txt; \
	fi
	touch $@

_build/assignments/written: .venv/grading $(wildcard book/assignments/*.ipynb book/assignments/grading/*.py book/publishing/*.py book/resnets/*.py book/resnets/check/*.py)
	$(GRADING) release _build/assignments
	touch $@
