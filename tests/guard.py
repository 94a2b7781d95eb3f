"""The time limit of a wait in the tests."""

GUARD = 60.0
"""Seconds after which a wait is a failure. It is long, because a busy machine must not reach it."""
