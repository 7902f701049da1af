"""What a run is told as: claims judged, tables of checks, and the page that shows them."""
