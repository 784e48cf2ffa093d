"""The form of `manifest.json`, which says how each video of a folder was made."""

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1
