"""Checks that run before training starts."""
