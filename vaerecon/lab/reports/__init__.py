"""Notebooks run by papermill: recorded numbers, baselines, pages, the report, the site."""
