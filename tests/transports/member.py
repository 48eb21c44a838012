"""A member of a group as a process of its own, to be killed: prints how many messages it holds, acknowledges none.

Call: python -m tests.transports.member URL TOPIC GROUP [OPTION=VALUE]
"""

import sys

from eventkit.transports import open_transport


def main(url: str, topic: str, group: str, *options: str) -> None:
    """Receive forever."""
    given = dict(option.split("=") for option in options)
    subscription = open_transport(url, given).subscribe([topic], group)
    held = 0
    while True:
        held += len(subscription.receive(100, 0.2))
        sys.stdout.write(f"{held}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
