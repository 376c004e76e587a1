"""What notebook ``07_compression`` uses."""
