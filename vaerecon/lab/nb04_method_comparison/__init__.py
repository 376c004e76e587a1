"""What notebook ``04_method_comparison`` uses."""
