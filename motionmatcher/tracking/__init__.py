"""Point tracks from optical flow, and their split into camera and objects."""
