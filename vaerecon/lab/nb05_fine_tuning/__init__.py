"""What notebook ``05_fine_tuning`` uses."""
