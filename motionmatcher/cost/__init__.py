"""What a training costs in FLOPs and memory, known before weights are read."""
