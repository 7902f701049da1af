"""Where the stage `score` leaves pictures for the figures, within its folder. Torch-free."""

WINDOWS = "windows"  # <page>/<row>.png
SCANS = "scans"  # <name>.png
