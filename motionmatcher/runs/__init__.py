"""What a run folder and a folder of videos hold."""
