"""The conformance kit, tried on clients that are right and on clients that are wrong."""
