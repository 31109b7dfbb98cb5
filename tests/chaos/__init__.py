"""Real processes under faults: kill, pause, partition, disk full, corruption; every answer checked.

    python -m tests.chaos --runs 5 --seconds 30 --seed 1

enclosure  a place of its own for everything, which the kernel takes away when the run ends
network    nodes in network namespaces on one bridge; who hears whom
disk       a small file system for each node; filled, damaged
lab        a cluster made of these
load       clients, and the history of what they were told
faults     what is done to the cluster
settling   what the persisted log says of writes whose outcome nobody told
verdict    what must be true at the end
run        one run, from its seed
"""
