"""Training: the loop, losses, optimisers, pretraining, checkpoints, run folders."""
