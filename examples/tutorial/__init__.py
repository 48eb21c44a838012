"""A shop in six steps: the programs of docs/tutorial.md, each run by a test on the embedded servers."""
