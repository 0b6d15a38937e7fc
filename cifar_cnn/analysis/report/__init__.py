"""A run as one page, report.html in its folder, that needs no network and no other file."""

from cifar_cnn.analysis.report.page import try_to_write_report, write_report

__all__ = ["try_to_write_report", "write_report"]
