"""QuEST: low-bit diffusion models by selective finetuning (Wang et al., 2025)."""
