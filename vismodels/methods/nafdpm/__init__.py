"""NAF-DPM: restoring document pages by predicting and refining (Cicchetti, Comminiello, 2024)."""
