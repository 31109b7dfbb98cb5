"""Measurements, by hand: `python -m tests.bars.NAME`. They print figures and assert no time."""
