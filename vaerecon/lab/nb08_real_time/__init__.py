"""What notebook ``08_real_time`` uses."""
