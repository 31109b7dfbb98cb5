"""What a command means: (state, command) → answer, the same on every member.

    version     one revision of a key, and the check that its row carries
    store       the port behind which versions are kept
    sessions    exactly once: the answers remembered for retries
    state       apply an entry; everything a replica's state is
    reading     get and list, as of a revision
    spread      which keys take how much space
    sweep       deleting what compaction lets go
    retention   when history should end, and by which policy

Nothing here reads a clock, draws a number, or depends on the order of a dict that did not come
from the log: the cluster compares its members' states and stops who differs.
"""
