"""Graph hypernetworks: MLP, GHN-1, GHN-2 and GHN-3."""
