"""The files of deploy/, checked without a container engine: by their schemas, by linters, and by the command line."""

from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
