"""`python -m eventkit.cli` is the `eventkit` command."""

from eventkit.cli import main

main(prog_name="eventkit")
