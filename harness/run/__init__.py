"""One run: the training loop, its evaluation, checkpoints, and the facts of its execution."""
