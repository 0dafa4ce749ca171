# `make book` builds the site, `make test` runs every test; both set up .venv first.
# RESNETS_DATA may name a folder that holds FashionMNIST/raw/*.gz.
PYTHON ?= $(firstword $(foreach v,3 3.13 3.12 3.11,$(shell python$(v) -c \
	'import sys; print(sys.executable) if (3, 11) <= sys.version_info < (3, 14) else None' 2>/dev/null)))
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard book/*.ipynb))
ifdef RESNETS_DATA
override RESNETS_DATA := $(abspath $(RESNETS_DATA))
export RESNETS_DATA
endif

.PHONY: book test execute lock clean

book: .venv/installed
	@# An incremental build does not see changed style sheets, and passes where one before it failed.
	$(BIN)/jupyter-book build . -W --keep-going \
		$$(test -z "$$(find book/_static -newer _build/html/searchindex.js 2>&1)" || echo --all) \
		|| { rm -rf _build; exit 1; }
	@echo "Open $(abspath _build/html/index.html)"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest --durations=10 --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-kernel-startup-timeout=120 --nbval-sanitize-with tests/nbval.cfg tests $(NOTEBOOKS)

execute: .venv/installed  # every notebook again, top to bottom, outputs kept
	$(BIN)/python tests/execute.py $(NOTEBOOKS)

lock:  # needs uv
	uv pip compile --quiet --universal --generate-hashes --group book --group test --group build \
		--output-file requirements.txt pyproject.toml

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
