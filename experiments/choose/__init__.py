"""Which checkpoint and which noise prior: a run's settings of sampling, tried and compared."""
