"""Who made a trajectory, and what follows from that: a class for each foreign type of process, by entry point."""
