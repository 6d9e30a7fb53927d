"""One self-contained HTML page: text, tables and plots, without a network."""

from normscope.report.html.page import comparison_to_html, to_html, trial_to_html

__all__ = ["comparison_to_html", "to_html", "trial_to_html"]
