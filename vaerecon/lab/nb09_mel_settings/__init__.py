"""What notebook ``09_mel_settings`` uses."""
