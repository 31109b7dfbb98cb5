"""Measurements of whole clusters: beside other stores, beside an earlier commit, against size.

    work       what is asked of a store, and what one measured run says
    machine    what this machine is; its disk's flushes and its processes' CPU, as counters
    meter      those counters sampled while a run goes on
    orderly    where data lies, and that nothing is left
    processes  one system's processes, and their end
    sockets    a closed loop over plain sockets, for stores whose protocol we speak ourselves
    etcd (with http2, h2load), zookeeper, dkv    the contestants
    figures    rounds to medians, ratios, tables; which rounds are void
    compare    `make bench`
    check      `make bench-check`
    scale      `make bench-scale`
    tail       `make bench-tail`
    plots      `make bench-plots`

docs/benchmarks.md has the method. No verdict here but that of `check`.
"""
