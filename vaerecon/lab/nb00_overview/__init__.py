"""What notebook ``00_overview`` uses."""
