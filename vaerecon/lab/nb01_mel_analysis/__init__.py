"""What notebook ``01_mel_analysis`` uses."""
