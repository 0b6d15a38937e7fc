"""The layers of a network: costs, receptive fields, layouts, feature maps."""
