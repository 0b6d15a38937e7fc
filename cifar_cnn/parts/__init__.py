"""Losses, schedules and other parts that a user passes as objects: recorded as plain data, or called correctly."""

from cifar_cnn.parts.recording import NotRecordable, import_path, keep_plain, record, record_known, remember_arguments

__all__ = ["NotRecordable", "import_path", "keep_plain", "record", "record_known", "remember_arguments"]
