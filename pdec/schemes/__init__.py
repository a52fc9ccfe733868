"""Time integrators, one file each; a new file is found by being here."""
