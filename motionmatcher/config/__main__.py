"""Print every setting: `python -m motionmatcher.config`."""

from motionmatcher.config.documentation import document_settings

print(f"""# Every setting of train.py with its meaning, range and default.
# Printed by `python -m motionmatcher.config`; not a config to run, but to copy keys from.
{document_settings()}""")
