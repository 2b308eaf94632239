# make demo   set up everything, drain a node of a real lab under live clients, show what happened
# make test   set up everything, run the tests
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-vms sim lint bench-blackout bench-precopy bench-prediction bench-drain bench-containers bench-planner bench-rebalance bench-reboot bench-roadef chaos soak clean
PYTHON := .venv/bin/python

help:
	@sed -n 's/^# make/make/p' Makefile

setup:
	@tools/setup

demo: setup
	@$(PYTHON) -m migrator.demo

test: setup
	@$(PYTHON) -m pytest -m 'not full'

# make test-full   the tests that take longer than make test may
test-full: setup
	@$(PYTHON) -m pytest

# make test-vms   the tests on virtual machines with kernels of their own, emulated: 7 minutes on two busy cores
test-vms:
	@tools/setup --vms
	@$(PYTHON) -m pytest tests/vms

# make sim   20,000 migrations with faults, over simulated nodes and virtual time; SEEDS=N for another number
SEEDS := 20000
sim:
	@tools/setup --no-image
	@.venv/bin/migrator sim --seeds $(SEEDS)
	@.venv/bin/migrator sim --fleet --seeds 4

# make lint   ruff and mypy, strict
lint:
	@tools/setup --no-image
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@MYPYPATH=migrator/runtime/kit .venv/bin/mypy --explicit-package-bases migrator/runtime/kit/*.py

# make bench-blackout   the pause of each mode beside bare runc's own freeze, dump and restore, and podman's checkpoint and
# make bench-blackout   copy; FULL=1 for more sizes and for links of 1 Gb/s
bench-blackout: setup
	@$(PYTHON) -m migrator.demo.bench $(if $(FULL),--rounds 5 --mib 16 64 256 1024 --link-mbit 1000)

# make bench-precopy    the pause of pre-copy beside that of stop-and-copy, between virtual machines
bench-precopy: setup
	@$(PYTHON) -m migrator.demo.precopy_bench

# make bench-drain   what a drain reaches of its link, what the orchestrator costs with fifty moves in flight, and the last
# make bench-drain   pass over 100,000 files
bench-drain: setup
	@$(PYTHON) -m migrator.demo.drain_bench

# make bench-containers   how soon a container is made, changed, listed, and what of its files a move sends
bench-containers: setup
	@$(PYTHON) -m migrator.demo.containers_bench

# make bench-prediction  what --dry-run says of sizes and links that it has not learnt from, beside what moves take
bench-prediction: setup
	@$(PYTHON) -m migrator.demo.prediction_bench

# make bench-planner   what plans for fleets cost, with hbal beside it; DATA=FOLDER for where the given fleets are
DATA ?= ../shared/bench
bench-planner:
	@tools/setup --no-image
	@$(PYTHON) -m migrator.demo.planner_bench --data $(DATA)
	@$(PYTHON) -m migrator.demo.rebalance_bench --data $(DATA) --nodes $(NODES) --peer-seconds $(PEER_SECONDS)
	@$(PYTHON) -m migrator.demo.reboot_bench --data $(DATA)

# make bench-rebalance   how even a fleet becomes, with how many moves, by hbal's own score; NODES="20 100" PEER_SECONDS=600
NODES ?= 20 100 1000
PEER_SECONDS ?= 600
bench-rebalance:
	@tools/setup --no-image
	@$(PYTHON) -m migrator.demo.rebalance_bench --data $(DATA) --nodes $(NODES) --peer-seconds $(PEER_SECONDS)

# make bench-reboot   in how few groups a fleet can be rebooted, with hroller beside it
bench-reboot:
	@tools/setup --no-image
	@$(PYTHON) -m migrator.demo.reboot_bench --data $(DATA)

# make bench-roadef   the search on the instances of ROADEF/EURO 2012 in DATA/roadef, SECONDS (300) each, beside published
# make bench-roadef   results; INSTANCES="a1_2 b_1" for these alone, and the other rows of the page stay
SECONDS ?= 300
bench-roadef:
	@tools/setup --no-image
	@$(PYTHON) -m migrator.demo.roadef_bench --data $(DATA) --seconds $(SECONDS) $(if $(INSTANCES),--only $(INSTANCES))

# make chaos   every state of a migration times everything that can break in it; writes docs/reliability.md
chaos: setup
	@$(PYTHON) -m migrator.chaos

# make soak   200 migrations under a live client (COUNT=N for another number), and then nothing more than before
COUNT ?= 200
soak: setup
	@$(PYTHON) -m migrator.chaos --soak $(COUNT)
