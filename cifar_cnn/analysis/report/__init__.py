"""Write the report of a run: report.html in its folder, a page that loads no other file."""

from cifar_cnn.analysis.report.page import try_to_write_report, write_report

__all__ = ["try_to_write_report", "write_report"]
