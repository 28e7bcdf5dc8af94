"""Model: ResNet-50 on patches as they are stored, one logit a class."""
