"""`eventkit events tail`: events as they are committed, over a live subscription of its own, without a broker."""

import click

from eventkit.cli.common.durations import WholeNumber
from eventkit.cli.common.output import say
from eventkit.cli.search.options import EXAMPLES, JSON_LINES, PAYLOAD, opened, remark_unknown, selects
from eventkit.config import Settings

_WAIT = 0.2  # seconds for the next events; a signal waits as long


@click.command(name="tail", epilog=EXAMPLES, short_help="Show events as they are committed.")
@selects
@click.option("--after", type=WholeNumber(0), metavar="POSITION", help="Begin behind this position (default: now).")
@click.option("--count", type=WholeNumber(1), metavar="N", help="End after so many events.")
@PAYLOAD
@JSON_LINES
@click.pass_obj
def tail(
    settings: Settings, /, *, after: int | None, count: int | None, payload: bool, as_json: bool, **chosen: str | None
) -> None:
    """Show events as they are committed, until Ctrl-C; those of one stream in order.

    It reads the store over a connection of its own, and delays no append. While the database is away it waits, and
    continues without a gap.
    """
    from eventkit.cli.common.following import until_signalled
    from eventkit.cli.search.rendering import is_chosen, line, of_encoded
    from eventkit.storage.privacy import Encryption
    from eventkit.storage.subscriptions import Follower, LiveLogs

    url = settings.require_database()
    if chosen["category"] or chosen["event_type"]:
        with opened(settings) as insights:
            remark_unknown(insights, category=chosen["category"], event_type=chosen["event_type"])
    with until_signalled() as ending:
        follower = Follower(LiveLogs(settings.schema, Encryption(settings.schema, None)), url, after)
        left = count
        while not ending.is_asked() and left != 0:
            events = [event for event in map(of_encoded, follower.read(_WAIT) or ()) if is_chosen(event, **chosen)]
            for event in events[:left]:
                say(line(event, payload=payload, as_json=as_json))
            left = None if left is None else max(0, left - len(events))
        follower.close()
