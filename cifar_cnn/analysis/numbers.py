"""Format numbers and times for display."""


def count(number: float) -> str:
    """A large number in short form, such as ``4.19 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """A time, such as ``38 s``, ``5 min 7 s`` or ``2 h 3 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
