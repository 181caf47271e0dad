"""What a traced call changes is as before afterwards: modules and their attributes, tensors, random numbers."""
