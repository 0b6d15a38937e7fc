"""Parts of a training as a user gives them: written down as plain data, or called with the right arguments."""

from cifar_cnn.parts.recording import NotRecordable, import_path, keep_plain, record, record_known, remember_arguments

__all__ = ["NotRecordable", "import_path", "keep_plain", "record", "record_known", "remember_arguments"]
