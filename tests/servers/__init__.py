"""Real servers for the tests: child processes on free ports, data in a temporary folder, gone with their starter.

`python -m tests.servers` fetches what they need and lends them to a command. Nothing here is mocked: what the tests
prove, they prove against PostgreSQL and Apache Kafka.
"""


class ServerMissing(Exception):
    """A server's programs are not on this machine; the message says how to get them."""


class ServerFailed(Exception):
    """A server that is here did not do what was asked."""
