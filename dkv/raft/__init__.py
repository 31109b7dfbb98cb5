"""Raft, as a value machine: letters in, letters out.

After Diego Ongaro, "Consensus: Bridging Theory and Practice" (the thesis, 2014); sections are
cited where they are implemented. No I/O, no clock, no dice: time and a seeded `Random` are handed
in, so that the same inputs give the same letters, on paper, in the simulator and in a node.

    core           the state of Figure 2, dispatch, writes, what is handed to the machine
    table          (role, letter) → handler, total
    follower candidate leader     the handlers, and the state that dies with the role
    configuration  who votes: names until Formed, disks from then on
    post           envelopes: which letters are for this disk and boot, and from a member
    quorum tail progress reads    a majority; the log's end; a member as its leader sees it; reads
"""
