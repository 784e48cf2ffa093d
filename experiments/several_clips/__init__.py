"""Three clips of one path with different looks against one of them, on Moving Shapes."""
