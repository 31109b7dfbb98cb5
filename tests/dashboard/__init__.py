"""A dashboard and a browser, for tests, pictures and measurements."""
