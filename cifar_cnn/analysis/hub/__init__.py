"""Save a trained network for the Hugging Face Hub, and load it from there; needs the extra ``hub``."""

from cifar_cnn.analysis.hub.classifier import CONFIG, WEIGHTS, HubClassifier
from cifar_cnn.analysis.hub.export import export_hub

__all__ = ["CONFIG", "WEIGHTS", "HubClassifier", "export_hub"]
