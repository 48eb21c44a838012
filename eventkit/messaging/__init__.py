"""Messages between services: handlers, commands, broadcasts, requests, process managers, deadlines.

Publish-subscribe and point-to-point: `Handlers`, for messages of the relay or of a `Sender`. Broadcast:
`Sender.broadcast` and a `Listener`. Request-reply: a `Requester` and a `Responder`. Long-running processes: a
`ProcessManager` and `Deadlines`. All work on every transport; docs/patterns.md has a picture of each.
"""

from eventkit.errors import Refused, RequestError, RequestFailed, RequestTimeout
from eventkit.messaging.deadlines import Deadlines
from eventkit.messaging.handlers import Handlers
from eventkit.messaging.listener import Listener
from eventkit.messaging.process_manager import ProcessManager
from eventkit.messaging.reaction import Reaction
from eventkit.messaging.replies import Replies
from eventkit.messaging.requester import Requester
from eventkit.messaging.responder import Responder
from eventkit.messaging.sender import Sender
from eventkit.messaging.timer_worker import SESSION, TimersRefused, TimerWorker

__all__ = [
    "SESSION",
    "Deadlines",
    "Handlers",
    "Listener",
    "ProcessManager",
    "Reaction",
    "Refused",
    "Replies",
    "RequestError",
    "RequestFailed",
    "RequestTimeout",
    "Requester",
    "Responder",
    "Sender",
    "TimerWorker",
    "TimersRefused",
]
