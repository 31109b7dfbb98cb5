"""`dkvctl dashboard`: the cluster and its log on a web page, as they are now.

A client like any other, with a certificate: what it shows, a client with role admin may ask for.
"""
