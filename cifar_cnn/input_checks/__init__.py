"""Checks of what a user passes to the core: each raises an InputError that says what to write instead."""
