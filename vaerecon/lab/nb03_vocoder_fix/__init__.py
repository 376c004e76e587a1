"""What notebook ``03_vocoder_dimension_fix`` uses."""
