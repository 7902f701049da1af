"""CovidNet3D: differentiable search of 3D classifiers of chest CT, and class activation maps."""
