"""Start a system that is broken in five places, and say how to look at it; Ctrl-C ends it.

$ python -m examples.incident
"""

import argparse
import signal
import sys
from contextlib import suppress

from examples.incident.system import broken_system


def main() -> None:
    with broken_system() as system:
        system.wait_for_the_dead()
        print("\nA shop is in trouble. What is wrong? Paste these lines into another terminal:\n")
        for name, value in system.environment.items():
            print(f"  export {name}={value}")
        print("\nand look with one of these:\n")
        print("  eventkit status        # in the terminal")
        print("  eventkit web           # starts the page: open http://127.0.0.1:8650")
        print("\nThere are five causes; each one has its command and a paragraph in docs/troubleshooting.md.")
        print("Ctrl-C ends it.", flush=True)
        signal.pause()


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m examples.incident", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        main()
