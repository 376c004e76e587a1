"""What notebook ``11_domains`` uses."""
