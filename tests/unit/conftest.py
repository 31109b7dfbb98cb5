"""Generated examples are the same in every run: a failure here is a failure everywhere."""

from hypothesis import settings

settings.register_profile("unit", derandomize=True, database=None, deadline=None)
settings.load_profile("unit")
