"""What notebook ``06_listening_test`` uses."""
