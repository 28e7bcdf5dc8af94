"""Hours, node hours and bytes of a chain of jobs on a cluster, computed from kept benchmark records and a site file."""
