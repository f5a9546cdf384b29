# The few daily commands; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test lint format viz runs docs bench mutants release audit-dependencies scan-secrets

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo:  ## the whole study on synthetic photographs
	uv run kedro run --env demo

test:  ## all tests
	uv run pytest

lint:  ## formatting, style, types, import contracts
	uv run ruff format --check src tests benchmarks
	uv run ruff check src tests benchmarks
	uv run mypy
	uv run lint-imports

format:  ## rewrite the code in the project's format
	uv run ruff format src tests benchmarks
	uv run ruff check --fix src tests benchmarks

viz:  ## the graph of the demo in the browser
	uv run kedro viz run --env demo

runs:  ## the tracked runs in the browser
	MLFLOW_DISABLE_TELEMETRY=true uv run mlflow ui

docs:  ## the documentation in the browser, its tables made anew
	uv run python -W ignore tests/docs/test_pipeline_pages.py
	uv run python tests/docs/test_trust_page.py
	NO_MKDOCS_2_WARNING=1 uv run mkdocs serve --open

bench:  ## the figures of docs/performance.md
	uv run python -m benchmarks.matching
	uv run python -m benchmarks.features

mutants:  ## how many small faults in the science the tests notice (an hour; goes on where it was ended)
	OMP_NUM_THREADS=1 uv run python -m benchmarks.mutants

release:  ## wheel, list of components (SBOM) and their hashes in dist/, the same bytes for one commit wherever it is made
	rm -rf dist
	uv build --wheel --quiet
	uv export --locked --no-dev --all-extras --preview-features sbom-export --format cyclonedx1.5 -qo dist/skinbit.cdx.json
	sed -i -E '/^  "serialNumber"|^    "timestamp"/d' dist/skinbit.cdx.json
	cd dist && sha256sum *.whl *.json > SHA256SUMS

audit-dependencies:  ## known vulnerabilities of the locked packages (needs network: asks osv.dev)
	uv audit --locked --preview-features audit-command

scan-secrets:  ## passwords and keys in committed files (needs network: fetches the scanner)
	git ls-files -z | xargs -0 uvx --from detect-secrets==1.5.0 detect-secrets-hook --no-verify --exclude-lines '^scan-'
