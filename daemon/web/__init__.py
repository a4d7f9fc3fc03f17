"""What the pages of the machine and of the control plane share: one look, and how its files are served."""
