# The everyday commands; `just` lists them. Everything runs in .venv, which `just setup` makes.

python := ".venv/bin/python"

default:
    @just --list

# Make .venv with all that tests and checks need
setup:
    [ -x {{python}} ] || python3 -m venv --without-pip .venv
    python3 -m pip --python .venv install --quiet --constraint tests/constraints.txt --editable ".[test,lint]"

# All tests, a browser included (about 20 minutes on two cores)
test *arguments:
    tests/run {{arguments}}

# The everyday loop: what needs neither a browser nor many processes (under a minute)
fast *arguments:
    {{python}} -m pytest -q -n auto --maxprocesses 4 -m "not slow and not long" {{arguments}}

# Style, types, import contracts, wording, JavaScript
lint:
    .ci/lint

# Fix what can be fixed by itself
fix:
    .venv/bin/ruff check --fix
    .venv/bin/ruff format

# Regenerate what is generated for the docs: the README's pictures
docs:
    {{python}} -m tests.viewer.picture

# The table of docs/PERFORMANCE.md
bench:
    {{python}} -m tests.benchmarks

# Run the app from the source tree
run *arguments:
    {{python}} -m tdw {{arguments}}
