"""A broker that runs already, named by its URL: it can be neither killed nor paused."""

from eventkit.transports import open_transport


class GivenBroker:
    """Any of them; methods for one kind stand beside the server of that kind."""

    def __init__(self, url: str) -> None:
        """Reach it once."""
        self.url = url
        transport = open_transport(url)
        self.version = transport.check()
        transport.close()

    def stop(self) -> None:
        """Leave it running."""
