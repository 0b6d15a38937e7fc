"""How the accuracy falls when the test images are corrupted, and whether confidence can be trusted."""
