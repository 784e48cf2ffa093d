"""MotionMatcher: customise the motion of a text-to-video diffusion model from one reference clip."""
