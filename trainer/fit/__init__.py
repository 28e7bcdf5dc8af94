"""Fit: the training loop, learning rates, checkpoints, predictions and their scores."""
