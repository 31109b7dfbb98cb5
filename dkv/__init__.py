"""dkv: a replicated key-value store for the few facts a system cannot lose.

This package is *what dkv is*: names, letters, Raft, the meaning of a command, certificates, the
client. It could run on paper: no clock, no dice, no threads, no SQL, and (but for `dkv.client`)
no sockets. *Who does it* is in `actors`, *how you reach it* in `cli`.
"""

__version__ = "0.1.0"
