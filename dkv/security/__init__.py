"""Who is who: the authority, the certificates it signs, the keys they speak for.

Owns: every use of PyNaCl. Must never know sockets or requests.

    armor.py         bytes as lines of text; files.py their files; z85.py ZeroMQ's spelling
    secrets.py       key files: locked with a passphrase or not, never readable by others
    certificate.py   what the authority says of a Curve key, and how it is checked
    trust.py         the public file with which a stranger knows true servers and members
    authority.py     the key that signs
    identity.py      what a node or a client loads at start
"""
