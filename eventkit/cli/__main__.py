"""`python -m eventkit.cli` is the `eventkit` command, and searches the working directory last, as that does."""

from eventkit.cli import main
from eventkit.working_directory import search_it_last

search_it_last()
main(prog_name="eventkit")
