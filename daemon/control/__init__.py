"""The control plane: it owns machines, says which code each of them runs, and refreshes it.

Nothing in a machine imports this package.
"""
