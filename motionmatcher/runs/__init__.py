"""What a run folder, a motion pack and a folder of videos hold."""
