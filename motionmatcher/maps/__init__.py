"""What the two motion features see in a run's reference, as pictures."""
