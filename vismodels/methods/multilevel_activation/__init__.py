"""Multi-level activation: glioma segmentation whose nested classes cannot be violated."""
