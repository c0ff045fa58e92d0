# make setup   .venv with the locked set; a second run does nothing
# make demo    the example of the README on sleepstudy, figures in demo/
# make test    the fast tests;  make test-all  with the slow ones;  make test-lowest  with the oldest dependencies
# make test-wheel   build the wheel, install it into a new environment and use it there
# make bench   side by side with other libraries, in .venv-bench;  make bench ARGS=--full  everything: benchmarks/README.md
# make docs    run the pages of docs/ and build the site, build/site/index.html, in .venv-docs;  make docs ARGS=--update
#              writes what the pages print into them
# make validate   check the numbers against R, prints, exact posteriors, ...: docs/validation.md;  ARGS="--simulations 50"
# make notebooks   run the scripts in notebooks/ and write the notebooks beside them
# make lint    ruff;  make lock  the locked sets anew;  make clean
.PHONY: setup demo test test-all test-lowest test-wheel bench docs validate notebooks lint lock clean
.DEFAULT_GOAL := test

# make PYTHON=/path/to/python ... takes that one instead of searching
export PYTHON
RUN := .venv/bin/python

setup:
	@scripts/setup

demo: setup
	@$(RUN) examples/demo.py

# A file's tests run on one processor, in order: what one of them has compiled or fitted the others use again.
# pytest leaves with 5 when it has run no test: also a failure here.
# With an empty PYTHONDONTWRITEBYTECODE Python may keep bytecode: else each processor compiles every test file anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --durations 10

test: setup
	$(PYTEST) -m "not slow"

# the reports are looked at in a real browser too
test-all: setup
	@scripts/setup-browser
	$(RUN) -m pytest -q --durations 10 --hypothesis-profile random

test-lowest:
	@scripts/test-lowest

test-wheel: setup
	@scripts/test-wheel

bench:
	@scripts/setup .venv-bench requirements-bench.lock
	@.venv-bench/bin/python -m benchmarks.run $(ARGS)

docs:
	@scripts/setup .venv-docs requirements-docs.lock
	@.venv-docs/bin/python -m docs.run $(ARGS)
	@.venv-docs/bin/python -m docs.build

# an hour on two quiet processors; what was found is kept, so that a run that was stopped goes on
validate: setup
	@$(RUN) -W ignore -m validation.run $(ARGS)

notebooks: setup
	@$(RUN) -m notebooks.render $(ARGS)

lint: setup
	$(RUN) -m ruff check .

lock:
	@scripts/lock

clean:
	rm -rf .venv .venv-bench .venv-docs .venv*.lock demo examples-out build
