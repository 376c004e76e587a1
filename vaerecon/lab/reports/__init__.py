"""Notebooks run without a reader: recorded numbers, baselines, pages, the report, the site."""
