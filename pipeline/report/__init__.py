"""What people look at: the report page and the text of ``neuronmill top``; reads the store through one connection."""

from __future__ import annotations

from pipeline.report.page import render_page, render_report
from pipeline.report.report_data import ReportData, load_report_data
from pipeline.report.terminal import TopNeurons, load_top, render_top

__all__ = ["ReportData", "TopNeurons", "load_report_data", "load_top", "render_page", "render_report", "render_top"]
