"""Model: ResNet-50 on patches as they are stored, with one logit per class."""
