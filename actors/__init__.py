"""Who does it: four actors in a ring, and the machinery, once.

actor                                   what an actor is
consensus  gateway                      thinkers: no resource, no clock, no socket
log + journal + witness, machine + table    keepers, and their files
recovery                                what a data directory says at start
mailbox  port  shell  node              sockets, the only loop, the composition root
doorkeeper                              who may connect (ZAP)
notebook                                what a node may forget: addresses last seen
"""
