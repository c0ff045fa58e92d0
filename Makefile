# make setup   .venv with the locked set; a second run does nothing
# make demo    the example of the README on sleepstudy, figures in demo/
# make test    the fast tests;  make test-all  with the slow ones;  make test-lowest  with the oldest dependencies
# make lint    ruff;  make lock  requirements.lock anew;  make clean
.PHONY: setup demo test test-all test-lowest lint lock clean
.DEFAULT_GOAL := test

# make PYTHON=/path/to/python ... takes that one instead of searching
export PYTHON
RUN := .venv/bin/python

setup:
	@scripts/setup

demo: setup
	@$(RUN) examples/demo.py

# pytest leaves with 5 when it has run no test: also a failure here
test: setup
	$(RUN) -m pytest -q -m "not slow"

test-all: setup
	$(RUN) -m pytest -q

test-lowest:
	@scripts/test-lowest

lint: setup
	$(RUN) -m ruff check .

lock:
	@scripts/lock

clean:
	rm -rf .venv demo
