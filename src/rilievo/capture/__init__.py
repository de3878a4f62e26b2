"""Where photos should be taken from: geometry of plans, what stations see of a surface, files for drones."""
