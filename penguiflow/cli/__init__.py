"""The command `penguiflow`: a shell for the sub-commands that installed packages bring along."""
