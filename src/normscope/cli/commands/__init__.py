"""The commands as the parser sees them: one file each, imported when its command is called. The work is done elsewhere."""
