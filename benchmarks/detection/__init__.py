"""Object detection: a Faster R-CNN on a backbone, pedestrian images, and average precision."""
