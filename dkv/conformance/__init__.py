"""The conformance kit: does somebody's client, or server, speak the protocol of the page?

A client under test is told what to do by lines (`driver`), and is played a cluster in which
something goes wrong (`stage`, `plays`). What it answers and what it sent are judged (`judging`) by
the rules of docs/protocol.md, which are numbered (`rules`).

    rules     the numbers and the sentences
    driver    the program under test, told by lines
    cast      keys, certificates and trust files, right and wrong
    store     what the nodes of a play hold
    node      frames to requests, replies to frames
    notes     what went to and fro, in lines for people
    stage     sockets, the driver and time in one loop
    scene     what plays are written in
    plays/    by subject
    judging   a verdict for each play and for each rule of the wire
    asking    connections of a stranger to a node
    trials    what is asked of a node, and what must come back
    verdicts  what both halves say
"""
