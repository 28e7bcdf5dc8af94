"""`python -m etl.doctor`: check each part of the stack on this machine, and say how to close each gap."""
