# `make book` builds the site, `make test` runs every test, `make check` those that take a minute; each sets
# up what it needs of .venv first (`install.py`).
# `make assignments` writes what students get; `make grade SUBMISSIONS=folder`, or zip, grades what comes back, and
# `make merge SHARDS="folder folder"` puts together what several machines graded.
# `make pdf`, `make epub` and `make slides` write the course to print, for e-readers and for a lecture.
# `make standalone` writes notebooks that carry the course library; `make address` writes the
# repository's address into the chapters; `make links` asks every link for an answer.
# `make record SCALE=hour` records every experiment; stopped, it goes on when it is called again.
# `make bench` times d2l's lesson and the course's on this machine, `make bench-labs` the networks in the page,
# and `make bench-grading` the grading of a class.
# RESNETS_DATA may name a folder that holds FashionMNIST/raw/*.gz.
PYTHON ?= $(shell for name in python3 python python3.13 python3.12 python3.11; do $$name -c \
	'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$name; break; }; done)
INSTALL = @test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it with PYTHON=…"; exit 1; }; \
	"$(PYTHON)" install.py
BIN := .venv/bin
CHAPTERS := $(sort $(wildcard book/[0-9]*.ipynb))
FAST := $(addprefix tests/test_, claims.py device.py effects.py folding.py notebooks.py plots.py project.py prose.py runs.py)
NOTEBOOKS := $(sort $(wildcard book/*.ipynb book/assignments/*.ipynb))
GRADING := PYTHONPATH=book:book/assignments $(BIN)/python -m grading
PUBLISHING := PYTHONPATH=book:book/assignments $(BIN)/python -m publishing
# make's own functions would take a name with a space for two names.
ifdef RESNETS_DATA
override RESNETS_DATA := $(if $(filter /%,$(firstword $(RESNETS_DATA))),,$(CURDIR)/)$(RESNETS_DATA)
export RESNETS_DATA
endif
# Files are UTF-8 under any locale; what somebody else put on Python's path is not for this course.
export PYTHONUTF8 := 1
unexport PYTHONPATH PYTHONHOME
# In a commit's hook, these would lead the tests' own repositories to this one.
unexport GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE

.PHONY: book test check lint assignments grade merge pdf epub slides standalone address links execute record bench bench-labs bench-grading lock clean site-packages all-packages

book: _build/assignments/written
	@$(PUBLISHING) site

test: all-packages lint
	@# Two files at a time, each with half the cores: on two cores faster than one after the other.
	OMP_NUM_THREADS=$$($(BIN)/python -c "import os; print(max(1, os.cpu_count() // 2))") \
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-kernel-startup-timeout=120 --nbval-sanitize-with tests/nbval.cfg $(NOTEBOOKS) tests

check: all-packages lint
	$(BIN)/pytest -q $(FAST)

lint: all-packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# A line of 76 characters fits beside the site's menus, and is readable on a phone.
	$(BIN)/ruff check --line-length 76 --select E501 $(CHAPTERS)
	$(BIN)/ruff format --check --line-length 76 $(CHAPTERS)

assignments: _build/assignments/written

# SUBMISSIONS=folder|zip [ROSTER=file] [BEFORE=time] [GRADES=folder] [CONFINEMENT=bubblewrap|container|none] [JOBS=2] [SHARD=3/10]
grade: all-packages
	@test -n "$(SUBMISSIONS)" || { echo "Name the folder or zip that holds the submissions: make grade SUBMISSIONS=folder"; exit 1; }
	@$(GRADING) grade "$(SUBMISSIONS)" --output "$(or $(GRADES),grades)" --confinement "$(or $(CONFINEMENT),bubblewrap)" \
		$(if $(ROSTER),--roster "$(ROSTER)") $(if $(BEFORE),--before "$(BEFORE)") \
		$(if $(JOBS),--jobs "$(JOBS)") $(if $(SHARD),--shard "$(SHARD)")

merge: all-packages  # SHARDS="folder folder" [GRADES=folder]
	@test -n '$(SHARDS)' || { echo 'Name the folders that hold the results of shards: make merge SHARDS="grades-1 grades-2"'; exit 1; }
	@$(GRADING) merge $(SHARDS) --output "$(or $(GRADES),grades)"

pdf: all-packages _build/assignments/written  # needs Chromium or Chrome
	@$(PUBLISHING) pdf _build/paper

epub: _build/assignments/written
	@$(PUBLISHING) epub _build/paper

slides: site-packages
	@$(PUBLISHING) slides _build/slides

standalone: _build/assignments/written
	@$(PUBLISHING) standalone _build/standalone
	@mkdir -p _build/standalone/assignments
	@cp _build/assignments/*.ipynb _build/standalone/assignments
	@echo "Student versions are in _build/standalone/assignments"

address: site-packages
	@$(PUBLISHING) address

links: _build/assignments/written
	PYTHONPATH=book $(BIN)/jupyter-book build . --builder linkcheck --path-output _build/linkcheck

execute: all-packages  # every notebook again, top to bottom, outputs kept
	PYTHONPATH=book $(BIN)/python tests/execute.py $(NOTEBOOKS)

record: all-packages  # [SCALE=quick|hour|full]
	$(BIN)/python -m resnets record $(if $(SCALE),--scale $(SCALE))

bench: all-packages  # [SCALE=quick|hour|full]
	$(BIN)/python -m resnets bench $(if $(SCALE),--scale $(SCALE))

bench-labs: all-packages  # needs Chromium
	PYTHONPATH=book:book/assignments:tests $(BIN)/python tests/bench_labs.py

bench-grading: all-packages  # a quarter of an hour; needs bubblewrap
	PYTHONPATH=book:book/assignments $(BIN)/python tests/bench_grading.py

lock:  # needs uv
	uv pip compile --quiet --universal --generate-hashes --group book --group test --group build \
		--output-file requirements.txt pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --group book --group grading --constraint requirements.txt \
		--output-file book/requirements.txt

clean:
	rm -rf .venv _build

site-packages:  # what builds the site: no PyTorch
	$(INSTALL) site

all-packages:  # [TORCH_INDEX=address]
	$(INSTALL) all $(TORCH_INDEX)

_build/assignments/written: book/requirements.txt $(wildcard book/assignments/*.ipynb book/assignments/grading/*.py book/publishing/*.py book/resnets/*.py book/resnets/check/*.py) | site-packages
	@$(PUBLISHING) assignments _build/assignments
	@touch $@
