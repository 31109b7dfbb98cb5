"""The client: the one part of `dkv` that opens sockets.

    from dkv.client import Client

    with Client("127.0.0.1:3000", cert="app.cert", key="app.key", cacert="trust") as kv:
        kv.put("greeting", "hello")
        print(kv.get("greeting").value)

`AsyncClient` has the same methods as coroutines. Errors are those of `dkv.errors`: `Rejected` (it
did not happen) and `Uncertain` (it may have) are different exceptions.

    core      what to send where and when to give up; no socket, no clock
    wire      the sockets, and what their monitors say
    blocking  Client
    aio       AsyncClient
    calls     what each method asks, and what its reply becomes
    engine    core and sockets together
"""

from dkv.client.aio import AsyncClient
from dkv.client.blocking import Client
from dkv.client.calls import Deleted, Item, Page, Written
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
    "Page",
    "Rejected",
    "RequestError",
    "Unavailable",
    "Uncertain",
    "Written",
]
