"""A load on a cluster, and what it costs: the generator behind `dkvctl bench`.

Its Python thread shares a machine with the nodes it measures, so an operation must cost it
microseconds: it is no `Client`, but speaks the same protocol, with sessions, certificates and every
reply checked.

    template    requests as bytes, patched where they differ
    latency     a histogram in constant memory
    sequences   a session's numbers: which may be sent, which is the lowest unanswered
    connection  one connection: its session, what is under way on it, its replies
    generator   the loop over all connections; leaders, lost nodes, the end
    costs       statuses of before and after: microseconds an operation, by node and stage
"""
