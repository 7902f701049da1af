"""QuantNAS: search for quantization-friendly super-resolution networks (arXiv 2208.14839)."""
