# Everything that is done with this checkout. `make` lists it; CI runs the same.
.DEFAULT_GOAL := help
.PHONY: help up test check servers schemas sim sabotage soak bench fmt

CARGO ?= cargo
SEEDS ?= 200
NIGHT ?= 600
ARGS ?=
# Where `make servers` puts NATS and PostgreSQL when the machine has none that is new enough.
export ORDO_SERVERS ?= $(CURDIR)/.servers

help: ## list what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

up: servers ## set up what is missing, start everything on this machine (ARGS="--data DIR")
	$(CARGO) build --package ordo
	@$(CARGO) run --quiet --package ordo -- up $(ARGS)

test: servers ## set up what is missing, run every test
	$(CARGO) build --package ordo
	$(CARGO) test --workspace --exclude ordo-tests --no-fail-fast
	$(CARGO) test --package ordo-tests --lib --test architecture --test golden --test simulation
	$(CARGO) test --package ordo-tests --test integration --no-fail-fast -- --test-threads=2
	$(CARGO) test --package ordo-tests --test e2e --test chaos --test soak --no-fail-fast -- --test-threads=1

check: ## format, lints, architecture, freshness of the schemas
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings
	$(CARGO) test --quiet --package ordo-tests --test architecture --test golden

servers: ## fetch NATS and PostgreSQL into .servers/ where the machine has none
	$(CARGO) build --package ordo-servers
	@$(CARGO) run --quiet --package ordo-servers -- "$(ORDO_SERVERS)"

schemas: ## write schemas/ anew from the types
	ORDO_WRITE_SCHEMAS=1 $(CARGO) test --quiet --package ordo-tests --test golden schemas

sim: ## simulate many orders, crashes and losses (SEEDS=10000)
	SEEDS=$(SEEDS) $(CARGO) test --release --package ordo-tests --test simulation -- --nocapture

sabotage: ## plant bugs in a copy of the core; the simulation must find each
	$(CARGO) run --package ordo-tests --bin ordo-sabotage

soak: servers ## a night of schedules while every process is killed in turn (NIGHT=600, seconds)
	$(CARGO) build --package ordo
	NIGHT=$(NIGHT) $(CARGO) test --package ordo-tests --test soak -- --test-threads=1 --nocapture

bench: servers ## measure, into target/bench/report.json
	$(CARGO) build --release --package ordo
	$(CARGO) run --release --package ordo-tests --bin ordo-bench

fmt: ## format
	$(CARGO) fmt --all
