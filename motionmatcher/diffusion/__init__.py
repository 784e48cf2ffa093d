"""The diffusion process: schedules, solvers, and the sampling loop."""
