"""Model: ResNet-50, or another network, on patches as they are stored, with one logit per class."""
