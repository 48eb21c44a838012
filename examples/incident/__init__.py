"""A running system with five faults, to be found from the page or the command line (`python -m examples.incident`)."""
