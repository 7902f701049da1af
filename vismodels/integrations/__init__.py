"""What makes other libraries know ours; each module registers itself when it is imported."""
