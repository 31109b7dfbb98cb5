"""The client: the one part of `dkv` that opens sockets.

    from dkv.client import Client

    with Client("127.0.0.1:3000", cert="app.cert", key="app.key", cacert="trust") as kv:
        kv.put("greeting", "hello")
        print(kv.get("greeting").value)

Many calls at once, each with its own outcome:

    with kv.pipeline() as many:
        for key, value in pairs:
            many.put(key, value)
    for outcome in many.results():
        ...

`AsyncClient` has the same methods as coroutines; calls that are started within one turn of the loop
share messages by themselves. Errors are those of `dkv.errors`: `Rejected` (it
did not happen) and `Uncertain` (it may have) are different exceptions.

    core      what to send where and when to give up; no socket, no clock
    attempts  a call, the messages that carry its attempts, and the alarms of both
    bursts    how many requests make a message, and which replies one holds
    nodes     the nodes that can be asked, and which of them is
    session   the numbers under which a retried write happens once
    wire      the sockets, and what their monitors say
    engine    core and sockets together
    blocking  Client
    pipeline  many calls of a Client at once
    aio       AsyncClient
    calls     what each method asks, and what its reply becomes
"""

from dkv.client.aio import AsyncClient
from dkv.client.blocking import Client
from dkv.client.calls import Deleted, Item, Page, SpaceRow, Written
from dkv.client.pipeline import Later, Pipeline
from dkv.errors import (
    ConditionFailed,
    Denied,
    Invalid,
    Rejected,
    RequestError,
    Unavailable,
    Uncertain,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ConditionFailed",
    "Deleted",
    "Denied",
    "Invalid",
    "Item",
    "Later",
    "Page",
    "Pipeline",
    "Rejected",
    "RequestError",
    "SpaceRow",
    "Unavailable",
    "Uncertain",
    "Written",
]
